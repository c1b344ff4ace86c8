/* Status codes and the error message that goes with them.
 *
 * Every function that can fail returns a cm3_status. The place that finds the fault records one line for a person with
 * cm3_fail(): which file, which field, what was found, what was expected. Callers forward it with CM3_TRY, and may put
 * their own context in front with cm3_fail_context(). The message belongs to the calling thread; only tools/ prints it.
 * The numeric values are frozen: they appear in logs. */
#ifndef CM3_CORE_STATUS_H
#define CM3_CORE_STATUS_H

/*   name             value  what it means */
#define CM3_STATUS_LIST(X)                                                                                            \
    X(OK,             0,  "done")                                                                                     \
    X(ERR_USAGE,      1,  "wrong usage: a bad argument from the person at the command line")                          \
    X(ERR_RECIPE,     2,  "the recipe is not valid")                                                                  \
    X(ERR_IO,         3,  "a file or stream could not be read or written")                                            \
    X(ERR_FORMAT,     4,  "a file does not hold what its format promises")                                            \
    X(ERR_NOT_FOUND,  5,  "something that was asked for does not exist")                                              \
    X(ERR_MEMORY,     6,  "out of memory")                                                                            \
    X(ERR_SHAPE,      7,  "shapes or types do not fit together")                                                      \
    X(ERR_NUMERIC,    8,  "a value is not finite")                                                                    \
    X(ERR_COMM,       9,  "communication between ranks failed")                                                       \
    X(ERR_UNSUPPORTED, 10, "not supported by this build, device or file")                                             \
    X(ERR_BUSY,       11, "in use by another process")                                                                \
    X(INTERRUPTED,    12, "stopped by a signal after saving")                                                         \
    X(ERR_INTERNAL,   13, "a fault of this program")                                                                   \
    X(ERR_DEVICE,     14, "a GPU failed")

typedef enum cm3_status {
#define X(name, value, text) CM3_##name = value,
    CM3_STATUS_LIST(X)
#undef X
} cm3_status;

#define CM3_MESSAGE_MAX 2048

/* The general meaning of a status, never NULL. */
const char *cm3_status_text(cm3_status status);

/* Records the message of this thread and returns `status`, so that one line does both:
 *     return cm3_fail(CM3_ERR_IO, "%s: ...", path); */
cm3_status cm3_fail(cm3_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " in front of the recorded message and returns `status` unchanged. */
cm3_status cm3_fail_context(cm3_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last recorded message of this thread, "" if none. Valid until the next cm3_fail of the thread. */
const char *cm3_message(void);

/* Forwards a failure to the caller. */
#define CM3_TRY(expression)                                                                                           \
    do {                                                                                                              \
        const cm3_status cm3_try_status_ = (expression);                                                              \
        if (cm3_try_status_ != CM3_OK) return cm3_try_status_;                                                        \
    } while (0)

/* Forwards a failure to the function's clean-up label; `status` is the function's own status variable. */
#define CM3_TRY_GOTO(status, label, expression)                                                                       \
    do {                                                                                                              \
        (status) = (expression);                                                                                      \
        if ((status) != CM3_OK) goto label;                                                                           \
    } while (0)

#endif
