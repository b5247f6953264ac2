/* What libraries that are preloaded share: the paths of calls, and the function behind one of theirs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_below(const char *folder, const char *path) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || !path[length]);
}

/* Give the path of an open file, "" for what has none; tell whether it has. */
static int path_of(int fd, char *path) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

/* Make a path whole, without a slash at its end; tell whether it could be. */
static int whole(int folder, const char *path, char *made) {
    if (!path || (!*path && folder == AT_FDCWD)) return 0;
    size_t before = 0, length = strlen(path);
    if (*path != '/') {
        if (folder == AT_FDCWD ? !getcwd(made, PATH_MAX) : !path_of(folder, made)) return 0;
        before = strlen(made);
        if (before + 1 < PATH_MAX) made[before++] = '/';
    }
    if (before + length >= PATH_MAX) return 0;
    memcpy(made + before, path, length + 1);
    for (length += before; length > 1 && made[length - 1] == '/';) made[--length] = 0;
    return 1;
}

/* Find the function of libc that a function of the library stands for. */
#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* In a function that opens: the rights of a file that it makes. */
#define RIGHTS                                                                                     \
    mode_t rights = 0;                                                                             \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        rights = va_arg(rest, mode_t);                                                             \
        va_end(rest);                                                                              \
    }
