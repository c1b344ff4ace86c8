#include "tests/support/temporary_folder.h"

#include "core/file.h"

#include <stdlib.h>
#include <string.h>

int temporary_folder_make(char path[TEMPORARY_FOLDER_MAX]) {
    strcpy(path, "/tmp/cm3-test-XXXXXX");
    return mkdtemp(path) ? 0 : -1;
}

int temporary_folder_remove(const char *path) {
    return cm3_folder_remove(path) == CM3_OK && !cm3_path_exists(path) ? 0 : -1;
}

int temporary_folder_open(void **state) {
    *state = malloc(TEMPORARY_FOLDER_MAX);
    return *state ? temporary_folder_make(*state) : -1;
}

int temporary_folder_close(void **state) {
    const int status = temporary_folder_remove(*state);
    free(*state);
    return status;
}
