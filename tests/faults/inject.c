/* A library to preload: it makes the N-th system call on files below a folder fail.
 *
 * It starts asleep. The program (through ctypes) or its parent calls inject(); what is counted and what
 * fails lies in the file that INJECT_STATE names, and so a whole family of processes counts together:
 * forked children, and programs that these start. Python, h5py, FFmpeg, safetensors and torch all call the
 * functions of libc that stand at the end. Calls on standard input, output and error are never counted; nor
 * is what libc does for itself (fread, fwrite and fclose of a FILE), nor memory that is mapped.
 * While it is awake nothing is flushed to the disk: no test cuts the power here.
 */
#include "preloaded.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum kind { OPEN, CREATE, READ, WRITE, PWRITE, FSYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, TRUNCATE, CLOSE };
static const char *NAMES[] = {"open", "create", "read", "write", "pwrite", "fsync", "rename", "link",
                              "unlink", "mkdir", "rmdir", "truncate", "close"};
enum { EXITS = -1, SHORT = -2, KILLED = -3 }; /* in place of an error number */
enum answer { GO_ON, FAIL, HALF };

struct state {
    atomic_int awake, count;
    int at, error, sticky, pid;
    unsigned kinds; /* one bit for each kind */
    char below[PATH_MAX], hit[PATH_MAX + 32];
};
static struct state *shared;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("INJECT_STATE");
    int fd = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CREAT, 0600) : -1;
    if (fd < 0 || syscall(SYS_ftruncate, fd, sizeof *shared)) return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) shared = NULL;
    syscall(SYS_close, fd);
}

/* Make the at-th call of those kinds below a folder fail, 0 for none; sticky: all behind it too. */
void inject(const char *below, unsigned kinds, int at, int error, int sticky) {
    atomic_store(&shared->awake, 0);
    atomic_store(&shared->count, 0);
    snprintf(shared->below, sizeof shared->below, "%s", below);
    shared->hit[0] = 0, shared->pid = 0;
    shared->kinds = kinds, shared->at = at, shared->error = error, shared->sticky = sticky;
    atomic_store(&shared->awake, 1);
}

/* Stop, and return how many calls were counted. */
int injected(void) {
    atomic_store(&shared->awake, 0);
    return atomic_load(&shared->count);
}

/* Tell which call failed, as "rename /a/b"; "" if none did. */
const char *injected_at(void) { return shared->hit; }

/* Tell the process whose call it was. */
int injected_in(void) { return shared->pid; }

static enum answer judge(enum kind kind, const char *path) {
    if (!(shared->kinds >> kind & 1) || !is_below(shared->below, path)) return GO_ON;
    int number = atomic_fetch_add(&shared->count, 1) + 1;
    if (!shared->at || !(number == shared->at || (shared->sticky && number > shared->at)))
        return GO_ON;
    if (!shared->hit[0]) {
        snprintf(shared->hit, sizeof shared->hit, "%s %s", NAMES[kind], path);
        shared->pid = syscall(SYS_getpid);
    }
    if (shared->error == EXITS) syscall(SYS_exit_group, 137);
    if (shared->error == KILLED) syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    if (shared->error == SHORT) return HALF;
    errno = shared->error;
    return FAIL;
}

static int is_awake(void) { return shared && atomic_load(&shared->awake); }

static enum answer of_fd(enum kind kind, int fd) {
    char path[PATH_MAX];
    return is_awake() && fd > 2 && path_of(fd, path) ? judge(kind, path) : GO_ON;
}

static enum answer of_path(enum kind kind, int folder, const char *path) {
    char made[PATH_MAX];
    return is_awake() && whole(folder, path, made) ? judge(kind, made) : GO_ON;
}

/* Functions of one path, of two paths, and of an open file: each is told by name and kind. */
#define OF_PATH(name, kind, folder, path, parameters, ...)                                         \
    int name parameters {                                                                          \
        static int(*real) parameters;                                                              \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                              \
        return of_path(kind, folder, path) == FAIL ? -1 : real(__VA_ARGS__);                       \
    }
#define OF_FD(name, kind, parameters, ...)                                                         \
    int name parameters {                                                                          \
        static int(*real) parameters;                                                              \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                              \
        return of_fd(kind, fd) == FAIL ? -1 : real(__VA_ARGS__);                                   \
    }
#define OF_BYTES(name, kind, parameters, ...)                                                      \
    ssize_t name parameters {                                                                      \
        static ssize_t(*real) parameters;                                                          \
        if (!real) real = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name);                          \
        enum answer answer = of_fd(kind, fd);                                                      \
        if (answer == FAIL) return -1;                                                             \
        if (answer == HALF && n > 1) n /= 2;                                                       \
        return real(__VA_ARGS__);                                                                  \
    }

OF_BYTES(read, READ, (int fd, void *b, size_t n), fd, b, n)
OF_BYTES(pread, READ, (int fd, void *b, size_t n, off_t at), fd, b, n, at)
OF_BYTES(pread64, READ, (int fd, void *b, size_t n, off64_t at), fd, b, n, at)
OF_BYTES(write, WRITE, (int fd, const void *b, size_t n), fd, b, n)
OF_BYTES(pwrite, PWRITE, (int fd, const void *b, size_t n, off_t at), fd, b, n, at)
OF_BYTES(pwrite64, PWRITE, (int fd, const void *b, size_t n, off64_t at), fd, b, n, at)
OF_BYTES(readv, READ, (int fd, const struct iovec *b, int n), fd, b, n)
OF_BYTES(writev, WRITE, (int fd, const struct iovec *b, int n), fd, b, n)
OF_BYTES(sendfile, WRITE, (int fd, int from, off_t *at, size_t n), fd, from, at, n)
OF_BYTES(sendfile64, WRITE, (int fd, int from, off64_t *at, size_t n), fd, from, at, n)
OF_BYTES(copy_file_range, WRITE, (int from, off64_t *a, int fd, off64_t *b, size_t n, unsigned f), from, a, fd, b, n, f)
OF_BYTES(preadv64, READ, (int fd, const struct iovec *b, int n, off64_t at), fd, b, n, at)
OF_BYTES(preadv64v2, READ, (int fd, const struct iovec *b, int n, off64_t at, int f), fd, b, n, at, f)
OF_FD(ftruncate, TRUNCATE, (int fd, off_t size), fd, size)
OF_FD(ftruncate64, TRUNCATE, (int fd, off64_t size), fd, size)
OF_PATH(rename, RENAME, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_PATH(renameat, RENAME, d, to, (int c, const char *from, int d, const char *to), c, from, d, to)
OF_PATH(renameat2, RENAME, d, to, (int c, const char *from, int d, const char *to, unsigned f), c, from, d, to, f)
OF_PATH(symlink, LINK, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_PATH(link, LINK, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_PATH(linkat, LINK, d, to, (int c, const char *from, int d, const char *to, int f), c, from, d, to, f)
OF_PATH(unlink, UNLINK, AT_FDCWD, path, (const char *path), path)
OF_PATH(unlinkat, f & AT_REMOVEDIR ? RMDIR : UNLINK, d, path, (int d, const char *path, int f), d, path, f)
OF_PATH(mkdir, MKDIR, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
OF_PATH(mkdirat, MKDIR, d, path, (int d, const char *path, mode_t mode), d, path, mode)
OF_PATH(rmdir, RMDIR, AT_FDCWD, path, (const char *path), path)

/* Room is made by posix_fallocate, which returns its error. */
int posix_fallocate64(int fd, off64_t at, off64_t n) {
    REAL(int, "posix_fallocate64", int, off64_t, off64_t);
    return of_fd(TRUNCATE, fd) == FAIL ? errno : real(fd, at, n);
}
int posix_fallocate(int fd, off_t at, off_t n) { return posix_fallocate64(fd, at, n); }

int fsync(int fd) {
    REAL(int, "fsync", int);
    return of_fd(FSYNC, fd) == FAIL ? -1 : is_awake() ? 0 : real(fd);
}
int fdatasync(int fd) { return fsync(fd); }

/* A folder is opened to be listed. */
DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", const char *);
    return of_path(OPEN, AT_FDCWD, path) == FAIL ? NULL : real(path);
}
DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", int);
    return of_fd(OPEN, fd) == FAIL ? NULL : real(fd);
}

/* A close that fails has closed, on Linux. */
int close(int fd) {
    REAL(int, "close", int);
    enum answer answer = of_fd(CLOSE, fd);
    int error = errno, done = real(fd);
    if (answer == FAIL) errno = error;
    return answer == FAIL ? -1 : done;
}

static int opens(int folder, const char *path, int flags) {
    enum kind kind = (flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT) ? OPEN : CREATE;
    return of_path(kind, folder, path) == FAIL;
}
#define OPENS(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(int, #name, const char *, int, ...);                                                  \
        RIGHTS                                                                                     \
        return opens(AT_FDCWD, path, flags) ? -1 : real(path, flags, rights);                      \
    }
#define OPENS_AT(name)                                                                             \
    int name(int d, const char *path, int flags, ...) {                                            \
        REAL(int, #name, int, const char *, int, ...);                                             \
        RIGHTS                                                                                     \
        return opens(d, path, flags) ? -1 : real(d, path, flags, rights);                          \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

static FILE *opens_file(const char *name, const char *path, const char *how) {
    FILE *(*real)(const char *, const char *) = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, name);
    int reads = how[0] == 'r' && !strchr(how, '+');
    return of_path(reads ? OPEN : CREATE, AT_FDCWD, path) == FAIL ? NULL : real(path, how);
}
FILE *fopen(const char *path, const char *how) { return opens_file("fopen", path, how); }
FILE *fopen64(const char *path, const char *how) { return opens_file("fopen64", path, how); }
