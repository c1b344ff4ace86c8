#include "train/evaluate/html.h"

#include "core/auto.h"

void cm3_html_text(FILE *file, const char *text) {
    static const char special[] = "&<>\"'";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (const char *c = text; *c; c++) {
        const char *found = strchr(special, *c);
        if (found)
            fputs(entities[found - special], file);
        else if (((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f)
            fputs("\xef\xbf\xbd", file);
        else
            fputc(*c, file);
    }
}

void cm3_html_base64(FILE *file, const uint8_t *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        const size_t left = length - i;
        const uint32_t three =
            (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[three >> 18], file);
        fputc(digits[three >> 12 & 63], file);
        fputc(left > 1 ? digits[three >> 6 & 63] : '=', file);
        fputc(left > 2 ? digits[three & 63] : '=', file);
    }
}

cm3_status cm3_html_image(FILE *file, const cm3_image *image, const char *alt) {
    CM3_AUTO_FREE uint8_t *png = NULL;
    size_t length = 0;
    CM3_TRY(cm3_image_encode_png(image, &png, &length));
    fprintf(file, "<img width=\"%d\" height=\"%d\" alt=\"", image->width, image->height);
    cm3_html_text(file, alt);
    fputs("\" src=\"data:image/png;base64,", file);
    cm3_html_base64(file, png, length);
    fputs("\">", file);
    return CM3_OK;
}
