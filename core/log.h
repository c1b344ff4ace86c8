/* Log lines on stderr; stdout belongs to results. Each begins with the seconds since the
 * program started, "[   12.3s] pretrain: ...". */
#ifndef CM3_CORE_LOG_H
#define CM3_CORE_LOG_H

typedef enum cm3_log_level { CM3_LOG_QUIET, CM3_LOG_WARN, CM3_LOG_INFO, CM3_LOG_DEBUG } cm3_log_level;

/* What is printed from now on; INFO at start. Ranks other than 0 are set to WARN by the tools. */
void cm3_log_set_level(cm3_log_level level);
cm3_log_level cm3_log_get_level(void);

void cm3_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cm3_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cm3_log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
