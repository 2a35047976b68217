/* Prints a table's settings for --help. */
#include "config/config.h"

#include <inttypes.h>

static const char *type_name(enum config_type type)
{
    static const char *const names[] = {
        [CONFIG_STRING] = "text", [CONFIG_PATH] = "path",     [CONFIG_INT] = "number",
        [CONFIG_BOOL] = "bool",   [CONFIG_STRINGS] = "texts", [CONFIG_LIST] = "list",
    };

    return names[type];
}

static const char *default_text(const struct config_field *f)
{
    if (!f->fallback)
        return "(required)";
    return *f->fallback ? f->fallback : "\"\"";
}

static void print_range(const struct config_field *f, char *out, size_t len)
{
    if (f->type == CONFIG_INT)
        snprintf(out, len, "%" PRId64 "..%" PRId64, f->min, f->max);
    else
        snprintf(out, len, "-");
}

static void print_fields(const struct config_table *t, const char *prefix, FILE *out)
{
    char name[128], range[64];

    for (size_t i = 0; i < t->count; i++) {
        const struct config_field *f = &t->fields[i];
        snprintf(name, sizeof(name), "%s%s", prefix, f->name);
        print_range(f, range, sizeof(range));
        fprintf(out, "  %-28s  %-6s  %-26s  %-22s  %s\n", name, type_name(f->type), default_text(f),
                range, f->help);
        if (f->item) {
            snprintf(name, sizeof(name), "%s%s[].", prefix, f->name);
            print_fields(f->item, name, out);
        }
    }
}

void config_help(const struct config_table *t, FILE *out)
{
    fprintf(out, "Settings of %s (YAML; dots are nested maps):\n", t->program);
    print_fields(t, "", out);
}
