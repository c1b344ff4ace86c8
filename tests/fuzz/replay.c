/* Runs a fuzz target over the files of a folder (its corpus), where libFuzzer is not linked. Fails if the folder is
 * empty. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info) != 0) {
        perror(path);
        return 1;
    }
    /* Exactly the file's size, so that the address sanitizer sees a read past its end. */
    uint8_t *bytes = malloc(info.st_size ? (size_t)info.st_size : 1);
    const size_t size = bytes ? fread(bytes, 1, (size_t)info.st_size, file) : 0;
    fclose(file);
    if (!bytes) return 1;
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    return 0;
}

int main(int argc, char **argv) {
    int files = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            perror(argv[i]);
            return 1;
        }
        for (const struct dirent *entry; (entry = readdir(folder));) {
            if (entry->d_name[0] == '.') continue;
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            failed += replay(path);
            files++;
        }
        closedir(folder);
    }
    printf("%d passed, %d failed\n", files - failed, failed);
    return failed || !files;
}
