/* A library to preload: it records what a process does to files below a folder, or makes it ask first.
 *
 * It starts asleep; the program calls witness() through ctypes. RECORD appends each call that changed
 * something to an open file: what was written, what was made durable, what got which name. STEP
 * writes a line before each call to one pipe and waits for a byte from another: whoever holds the
 * other ends decides who goes on. Processes that this one starts by exec are asleep.
 */
#include "preloaded.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

enum kind { OPEN, CREATE, WRITE, TRUNCATE, FSYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, LIST, STAT, LOCK, MARK };
static const char *NAMES[] = {"open", "create", "write", "truncate", "fsync", "rename", "link", "unlink",
                              "mkdir", "rmdir", "list", "stat", "lock", "mark"};
enum mode { ASLEEP, RECORD, STEP };

/* What precedes a recorded call: two paths and what was written follow, of these lengths. */
struct entry {
    int32_t kind, flags;
    int64_t inode, at, size;
    int32_t first, second;
};

static enum mode mode;
static int out = -1, in = -1;
static unsigned kinds;
static char below[PATH_MAX];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void witness(const char *folder, int how, int to, int from, unsigned bits) {
    snprintf(below, sizeof below, "%s", folder);
    out = to, in = from, kinds = bits, mode = how;
}

/* Give the path of a call, of an open file; tell whether it lies below the folder. */
static int is_mine(int base, const char *path, char *made) { return whole(base, path, made) && is_below(below, made); }
static int is_my_file(int fd, char *path) { return path_of(fd, path) && is_below(below, path); }

static void put(const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        long done = syscall(SYS_write, out, at, size);
        if (done < 0) {
            if (errno == EINTR) continue;
            abort();
        }
        at += done, size -= done;
    }
}

static void record(enum kind kind, int flags, int64_t inode, int64_t at, const char *first, const char *second,
                   const void *data, int64_t size) {
    struct entry entry = {kind, flags, inode, at, size, (int32_t)strlen(first), (int32_t)strlen(second)};
    put(&entry, sizeof entry);
    put(first, entry.first);
    put(second, entry.second);
    if (data) put(data, size);
}

static void ask(enum kind kind, const char *first, const char *second) {
    char line[2 * PATH_MAX + 32], byte;
    put(line, snprintf(line, sizeof line, "%s\t%s\t%s\n", NAMES[kind], first, second));
    while (syscall(SYS_read, in, &byte, 1) < 0 && errno == EINTR) continue;
}

/* Begin a call of that kind: in STEP it asks first. Returns whether end() is to be called. */
static int begin(enum kind kind, const char *first, const char *second) {
    if (!(kinds >> kind & 1)) return 0;
    pthread_mutex_lock(&turn);
    if (mode == STEP) {
        int error = errno;
        ask(kind, first, second);
        errno = error;
    }
    return 1;
}

static void end(void) { pthread_mutex_unlock(&turn); }

static int64_t inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? -1 : (int64_t)found.st_ino;
}

/* Tell in the recording that something has come to pass. */
void witness_mark(const char *text) {
    if (mode != RECORD) return;
    pthread_mutex_lock(&turn);
    record(MARK, 0, -1, 0, text, "", NULL, 0);
    pthread_mutex_unlock(&turn);
}

#define OF_NAMES(name, kind, c, from, d, to, parameters, ...)                                      \
    int name parameters {                                                                          \
        static int(*real) parameters;                                                              \
        char first[PATH_MAX] = "", second[PATH_MAX] = "";                                          \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                              \
        int counts = mode && is_mine(d, to, second);                                               \
        if (counts && *from) whole(c, from, first);                                                \
        if (!counts || !begin(kind, first, second)) return real(__VA_ARGS__);                      \
        int done = real(__VA_ARGS__), error = errno;                                               \
        if (done == 0 && mode == RECORD) record(kind, 0, -1, 0, first, second, NULL, 0);           \
        end();                                                                                     \
        errno = error;                                                                             \
        return done;                                                                               \
    }

OF_NAMES(rename, RENAME, AT_FDCWD, from, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_NAMES(renameat, RENAME, c, from, d, to, (int c, const char *from, int d, const char *to), c, from, d, to)
OF_NAMES(link, LINK, AT_FDCWD, from, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_NAMES(linkat, LINK, c, from, d, to, (int c, const char *from, int d, const char *to, int f), c, from, d, to, f)
OF_NAMES(unlink, UNLINK, AT_FDCWD, "", AT_FDCWD, path, (const char *path), path)
OF_NAMES(unlinkat, f & AT_REMOVEDIR ? RMDIR : UNLINK, AT_FDCWD, "", d, path, (int d, const char *path, int f), d, path, f)
OF_NAMES(mkdir, MKDIR, AT_FDCWD, "", AT_FDCWD, path, (const char *path, mode_t mode_), path, mode_)
OF_NAMES(mkdirat, MKDIR, AT_FDCWD, "", d, path, (int d, const char *path, mode_t mode_), d, path, mode_)
OF_NAMES(rmdir, RMDIR, AT_FDCWD, "", AT_FDCWD, path, (const char *path), path)

/* Writes: where each began, and what it wrote. */
#define WRITES(name, position, parameters, ...)                                                    \
    ssize_t name parameters {                                                                      \
        static ssize_t(*real) parameters;                                                          \
        char path[PATH_MAX];                                                                       \
        if (!real) real = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name);                          \
        if (!mode || fd < 3 || !is_my_file(fd, path) || !begin(WRITE, "", path)) return real(__VA_ARGS__); \
        ssize_t done = real(__VA_ARGS__);                                                          \
        int error = errno;                                                                         \
        if (done > 0 && mode == RECORD) record(WRITE, 0, inode_of(fd), position, path, "", b, done); \
        end();                                                                                     \
        errno = error;                                                                             \
        return done;                                                                               \
    }
WRITES(write, lseek(fd, 0, SEEK_CUR) - done, (int fd, const void *b, size_t n), fd, b, n)
WRITES(pwrite, at, (int fd, const void *b, size_t n, off_t at), fd, b, n, at)
WRITES(pwrite64, at, (int fd, const void *b, size_t n, off64_t at), fd, b, n, at)

/* Lengths; flags tell a cut (0) from room that is made (1). */
static int sized(int fd, int64_t size, int grows, int done) {
    char path[PATH_MAX];
    if (done || !mode || !is_my_file(fd, path) || !begin(TRUNCATE, "", path)) return done;
    if (mode == RECORD) record(TRUNCATE, grows, inode_of(fd), size, path, "", NULL, 0);
    end();
    return done;
}
int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    return sized(fd, size, 0, real(fd, size));
}
int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    return sized(fd, size, 0, real(fd, size));
}
int posix_fallocate64(int fd, off64_t at, off64_t n) {
    REAL(int, "posix_fallocate64", int, off64_t, off64_t);
    return sized(fd, at + n, 1, real(fd, at, n));
}
int posix_fallocate(int fd, off_t at, off_t n) { return posix_fallocate64(fd, at, n); }

/* What is to become durable: the recording says so, and nobody waits for a disk. */
static int synced(int fd) {
    char path[PATH_MAX];
    if (!mode || !is_my_file(fd, path) || !begin(FSYNC, "", path)) return 0;
    if (mode == RECORD) record(FSYNC, 0, inode_of(fd), 0, path, "", NULL, 0);
    end();
    return 0;
}
int fsync(int fd) { return synced(fd); }
int fdatasync(int fd) { return synced(fd); }

static int opened(int folder, const char *path, int flags, mode_t rights, int (*real)(int, const char *, int, ...)) {
    char made[PATH_MAX];
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT;
    if (!mode || !is_mine(folder, path, made) || !begin(changes ? CREATE : OPEN, "", made))
        return real(folder, path, flags, rights);
    int fd = real(folder, path, flags, rights), error = errno;
    if (fd >= 0 && changes && mode == RECORD)
        record(CREATE, flags & O_TRUNC ? 1 : 0, inode_of(fd), 0, made, "", NULL, 0);
    end();
    errno = error;
    return fd;
}
#define OPENS(name, parameters, folder)                                                            \
    int name parameters {                                                                          \
        REAL(int, "openat", int, const char *, int, ...);                                          \
        RIGHTS                                                                                     \
        return opened(folder, path, flags, rights, real);                                          \
    }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int folder, const char *path, int flags, ...), folder)
OPENS(openat64, (int folder, const char *path, int flags, ...), folder)

/* Looks: they change nothing, but what is seen depends on when. */
#define LOOKS(type, name, kind, folder, parameters, ...)                                           \
    type name parameters {                                                                         \
        static type(*real) parameters;                                                             \
        char made[PATH_MAX];                                                                       \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                             \
        if (mode == STEP && is_mine(folder, path, made) && begin(kind, "", made)) end();           \
        return real(__VA_ARGS__);                                                                  \
    }
LOOKS(DIR *, opendir, LIST, AT_FDCWD, (const char *path), path)
LOOKS(int, stat, STAT, AT_FDCWD, (const char *path, struct stat *to), path, to)
LOOKS(int, stat64, STAT, AT_FDCWD, (const char *path, struct stat64 *to), path, to)
LOOKS(int, lstat, STAT, AT_FDCWD, (const char *path, struct stat *to), path, to)
LOOKS(int, lstat64, STAT, AT_FDCWD, (const char *path, struct stat64 *to), path, to)
LOOKS(int, fstatat, STAT, d, (int d, const char *path, struct stat *to, int f), d, path, to, f)
LOOKS(int, fstatat64, STAT, d, (int d, const char *path, struct stat64 *to, int f), d, path, to, f)
LOOKS(int, access, STAT, AT_FDCWD, (const char *path, int how), path, how)

/* A lock that another process holds is asked for again and again: it never stops both. */
int flock(int fd, int how) {
    REAL(int, "flock", int, int);
    char path[PATH_MAX];
    if (mode != STEP || how & LOCK_NB || !is_my_file(fd, path)) return real(fd, how);
    int done;
    while ((done = real(fd, how | LOCK_NB)) && errno == EWOULDBLOCK)
        if (begin(LOCK, "", path)) end();
    return done;
}
