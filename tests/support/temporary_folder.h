/* An empty folder for one test, removed with all that the test left in it. */
#ifndef CM3_TESTS_SUPPORT_TEMPORARY_FOLDER_H
#define CM3_TESTS_SUPPORT_TEMPORARY_FOLDER_H

enum { TEMPORARY_FOLDER_MAX = 32 };

/* 0, or -1 when it cannot be made or removed: what cmocka's set-up and tear-down functions return. */
int temporary_folder_make(char path[TEMPORARY_FOLDER_MAX]);
int temporary_folder_remove(const char *path);

/* Set-up and tear-down themselves, for tests whose whole state is the path. */
int temporary_folder_open(void **state);
int temporary_folder_close(void **state);

#endif
