/* Configurations: the JSON as it came, and the few values of it that matter here. */

#include "standin.h"

#include <ctype.h>

struct reader { const char *at; libxl_domain_config *config; char key[64]; int bad; };

static void blank(struct reader *r) { while (isspace((unsigned char)*r->at)) r->at++; }

static void text(struct reader *r, char *out, size_t room)
{
    size_t n = 0;

    r->at++;
    while (*r->at && *r->at != '"') {
        unsigned code = (unsigned char)*r->at++;

        if (code == '\\') {
            char next = *r->at++;

            if (next == 'u') { /* json.dumps writes UTF-16 units */
                sscanf(r->at, "%4x", &code);
                r->at += 4;
                if (code >= 0xd800 && code < 0xdc00 && r->at[0] == '\\') {
                    unsigned low;

                    sscanf(r->at + 2, "%4x", &low);
                    r->at += 6;
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                if (n + 5 < room && code >= 0x80) {
                    if (code < 0x800) {
                        out[n++] = 0xc0 | code >> 6;
                    } else if (code < 0x10000) {
                        out[n++] = 0xe0 | code >> 12;
                        out[n++] = 0x80 | (code >> 6 & 0x3f);
                    } else {
                        out[n++] = 0xf0 | code >> 18;
                        out[n++] = 0x80 | (code >> 12 & 0x3f);
                        out[n++] = 0x80 | (code >> 6 & 0x3f);
                    }
                    out[n++] = 0x80 | (code & 0x3f);
                    continue;
                }
            } else {
                code = next == 'n' ? '\n' : next == 't' ? '\t' : next;
            }
        }
        if (n + 1 < room)
            out[n++] = code;
    }
    out[n] = 0;
    if (*r->at++ != '"')
        r->bad = 1;
}

static int digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static void noted(struct reader *r, const char *word)
{
    libxl_domain_config *config = r->config;

    if (!strcmp(r->key, "name") && !config->c_info.name) {
        config->c_info.name = strdup(word);
    } else if (!strcmp(r->key, "type") && !config->c_info.type) {
        config->c_info.type = !strcmp(word, "hvm") ? LIBXL_DOMAIN_TYPE_HVM
            : !strcmp(word, "pvh") ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
    } else if (!strcmp(r->key, "uuid")) {
        int i;

        for (i = 0; i < 16 && word[0] && word[1]; i++, word += 2) {
            while (*word == '-')
                word++;
            config->c_info.uuid.uuid[i] = digit(word[0]) << 4 | digit(word[1]);
        }
    }
}

static void value(struct reader *r, int depth)
{
    char word[1024], *end;

    blank(r);
    if (depth > 32 || r->bad) {
        r->bad = 1;
    } else if (*r->at == '"') {
        text(r, word, sizeof(word));
        noted(r, word);
    } else if (*r->at == '{' || *r->at == '[') {
        char close = *r->at++ == '{' ? '}' : ']';

        for (blank(r); *r->at && *r->at != close && !r->bad; blank(r)) {
            if (close == '}') {
                if (*r->at != '"') {
                    r->bad = 1;
                    return;
                }
                text(r, r->key, sizeof(r->key));
                blank(r);
                if (*r->at++ != ':')
                    r->bad = 1;
            }
            value(r, depth + 1);
            blank(r);
            if (*r->at == ',')
                r->at++;
        }
        if (*r->at++ != close)
            r->bad = 1;
    } else if (!strncmp(r->at, "true", 4) || !strncmp(r->at, "null", 4)) {
        r->at += 4;
    } else if (!strncmp(r->at, "false", 5)) {
        r->at += 5;
    } else {
        double number = strtod(r->at, &end);

        if (end == r->at)
            r->bad = 1;
        r->at = end;
        if (!strcmp(r->key, "max_memkb"))
            r->config->b_info.max_memkb = number;
        else if (!strcmp(r->key, "target_memkb"))
            r->config->b_info.target_memkb = number;
        else if (!strcmp(r->key, "max_vcpus"))
            r->config->b_info.max_vcpus = number;
    }
}

void libxl_domain_config_init(libxl_domain_config *config) { memset(config, 0, sizeof(*config)); }

void libxl_domain_config_dispose(libxl_domain_config *config)
{
    free(config->c_info.name);
    free(config->b_info.kernel);
}

/* The text is kept where libxl keeps the kernel's path. */
int libxl_domain_config_from_json(libxl_ctx *ctx, libxl_domain_config *config, const char *json)
{
    struct reader reader = { json, config, "", 0 };

    value(&reader, 0);
    blank(&reader);
    if (reader.bad || *reader.at || !config->c_info.name) {
        standin_say(ctx, XTL_ERROR, "the configuration is not understood");
        return ERROR_INVAL;
    }
    config->b_info.kernel = strdup(json);
    return 0;
}

char *libxl_domain_config_to_json(libxl_ctx *ctx, libxl_domain_config *config)
{
    return strdup(config->b_info.kernel);
}

int libxl_retrieve_domain_configuration(libxl_ctx *ctx, uint32_t domid,
                                        libxl_domain_config *config, const libxl_asyncop_how *how)
{
    char path[600], json[65536] = "";
    FILE *file;

    standin_path(ctx, path, "config", domid);
    file = fopen(path, "r");
    if (!file)
        return ERROR_JSON_CONFIG_EMPTY;
    json[fread(json, 1, sizeof(json) - 1, file)] = 0;
    fclose(file);
    return libxl_domain_config_from_json(ctx, config, json);
}

void libxl_domain_restore_params_init(libxl_domain_restore_params *p) { memset(p, 0, sizeof(*p)); }
void libxl_domain_restore_params_dispose(libxl_domain_restore_params *p) { }
