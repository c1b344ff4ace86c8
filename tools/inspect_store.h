/* `inspect` of a token store: its header, or one sample. */
#ifndef CM3_TOOLS_INSPECT_STORE_H
#define CM3_TOOLS_INSPECT_STORE_H

#include "tools/options.h"

cm3_status cm3_inspect_store(const cm3_command_line *line, const char *path);

#endif
