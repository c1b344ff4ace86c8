#include "data/source/emoji.h"
#include "data/source/kind.h"

#include "core/list.h"
#include "core/utf8.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* "1F44B 1F3FB": false if it is not a list of code points. */
static bool parse_codes(const char *text, cm3__emoji *emoji) {
    char *end;
    emoji->code_count = 0;
    for (;; text = end) {
        while (*text == ' ') text++;
        if (!*text) return emoji->code_count > 0;
        if (!isxdigit((unsigned char)*text)) return false;
        const unsigned long code = strtoul(text, &end, 16);
        if ((*end && *end != ' ') || code > 0x10FFFF || emoji->code_count == CM3_EMOJI_CODES) return false;
        emoji->codes[emoji->code_count++] = (uint32_t)code;
    }
}

/* Cuts at the first `separator` and returns what follows it; NULL if there is none. */
static char *cut(char *text, char separator) {
    char *at = strchr(text, separator);
    if (at) *at++ = '\0';
    return at;
}

static char *trim(char *text) {
    while (*text == ' ') text++;
    for (size_t n = strlen(text); n && (text[n - 1] == ' ' || text[n - 1] == '\r'); n--) text[n - 1] = '\0';
    return text;
}

/* "1F44B ; fully-qualified # (emoji) E0.6 waving hand". A status other than fully-qualified leaves the name NULL. */
static bool parse_line(char *line, cm3__emoji *emoji) {
    char *status = cut(line, ';'), *comment = status ? cut(status, '#') : NULL;
    if (!comment || !parse_codes(line, emoji)) return false;
    emoji->name = NULL;
    if (strcmp(trim(status), "fully-qualified")) return true;
    char *version = cut(trim(comment), ' '), *name = version ? cut(version, ' ') : NULL;
    if (!name || version[0] != 'E' || !*trim(name)) return false;
    emoji->name = trim(name);
    return true;
}

cm3_status cm3__emoji_parse(const char *path, char *text, size_t length, cm3__emoji_list *list) {
    static const char group_mark[] = "# group: ", subgroup_mark[] = "# subgroup: ";
    *list = (cm3__emoji_list){.text = text};
    cm3_status status = CM3_OK;
    const char *group = "", *subgroup = "";
    CM3_LIST(cm3__emoji) all = {0};
    long number = 1;
    if (!cm3_utf8_is_valid(text, length, NULL) || memchr(text, 0, length))
        status = cm3_fail(CM3_ERR_FORMAT, "%s: not a UTF-8 text", path);
    for (char *line = text, *next; status == CM3_OK && line; line = next, number++) {
        next = cut(line, '\n');
        if (!strncmp(line, group_mark, strlen(group_mark))) group = trim(line + strlen(group_mark));
        if (!strncmp(line, subgroup_mark, strlen(subgroup_mark))) subgroup = trim(line + strlen(subgroup_mark));
        line = trim(line);
        if (!*line || *line == '#') continue;
        cm3__emoji emoji = {.group = group, .subgroup = subgroup};
        if (!parse_line(line, &emoji)) {
            status = cm3_fail(CM3_ERR_FORMAT, "%s:%ld: expected \"code points ; status # image version name\"", path,
                              number);
        } else if (emoji.name) {
            status = CM3_LIST_PUSH(&all, emoji);
        }
    }
    list->items = all.items;
    list->count = (int64_t)all.count;
    if (status != CM3_OK) cm3__emoji_list_free(list);
    return status;
}

void cm3__emoji_list_free(cm3__emoji_list *list) {
    free(list->items);
    free(list->text);
    *list = (cm3__emoji_list){0};
}

static bool is_group(const void *what, const char *name) {
    const cm3__emoji *emoji = what;
    return !strcasecmp(emoji->group, name) || !strcasecmp(emoji->subgroup, name);
}

static cm3_status check_groups(const cm3_string_list *groups, const cm3__emoji_list *list) {
    for (int g = 0; g < groups->count; g++) {
        const char *name = groups->values[g] + (groups->values[g][0] == '!');
        bool found = false;
        for (int64_t i = 0; i < list->count && !found; i++) found = is_group(&list->items[i], name);
        if (found) continue;
        char known[512] = "";
        const char *last = "";
        for (int64_t i = 0; i < list->count; last = list->items[i++].group) {
            if (!strcmp(last, list->items[i].group)) continue;
            if (*known) strncat(known, ", ", sizeof known - strlen(known) - 1);
            strncat(known, list->items[i].group, sizeof known - strlen(known) - 1);
        }
        return cm3_fail(CM3_ERR_RECIPE,
                        "source.groups: no emoji group or subgroup is called \"%s\"; the groups are: %s", name, known);
    }
    return CM3_OK;
}

cm3_status cm3__emoji_select(const cm3_source_config *config, cm3__emoji_list *list) {
    CM3_TRY(check_groups(&config->groups, list));
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count && cm3__limit_allows(config, kept); i++)
        if (cm3__list_keeps(&config->groups, is_group, &list->items[i]) &&
            cm3__words_keep(&config->filter, list->items[i].name))
            list->items[kept++] = list->items[i];
    list->count = kept;
    return CM3_OK;
}
