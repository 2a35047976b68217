/* Fills a program's struct from a YAML tree as its table says, and collects every problem found. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config_tree.h"

enum { MAX_PROBLEMS = 20, MAX_FIELDS = 128, MAX_NAME = 192 };

struct load {
    const char *file;
    struct span folder; /* of the file, with its last slash; empty: the present one */
    struct arena *arena;
    struct buf *why;
    unsigned problems;
};

/* A map of the tree being read as one table: the whole file, or an item of a list. */
struct section {
    struct load *load;
    const struct config_table *table;
    uint8_t *values;
    const char *path; /* "" or "operators[0]." */
    bool seen[MAX_FIELDS];
};

static void complain(struct load *l, struct config_place at, const char *path, const char *name,
                     const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void complain(struct load *l, struct config_place at, const char *path, const char *name,
                     const char *fmt, ...)
{
    va_list args;

    if (l->problems++ >= MAX_PROBLEMS)
        return;
    buf_printf(l->why, "%s:%zu:%zu: %s%s: ", l->file, at.line, at.column, path, name);
    va_start(args, fmt);
    buf_vprintf(l->why, fmt, args);
    va_end(args);
    buf_byte(l->why, '\n');
}

// ---- Values -------------------------------------------------------------------------------------

// What is wrong with a text, or NULL. A table's own default is always right.
static const char *text_problem(const struct config_field *f, const char *text)
{
    if (f->fallback && f->type != CONFIG_STRINGS && strcmp(text, f->fallback) == 0)
        return NULL;
    if (f->check)
        return f->check(text);
    return *text ? NULL : "must not be empty";
}

static const char *resolve_path(struct load *l, const char *text)
{
    if (*text == '/' || *text == 0)
        return text;
    return arena_printf(l->arena, "%.*s%s", SPAN_FMT(l->folder), text);
}

static bool parse_int(const char *text, int64_t *out)
{
    uint64_t magnitude;
    const bool minus = *text == '-';

    if (span_u64(span_str(text + minus), INT64_MAX, &magnitude) < 0)
        return false;
    *out = minus ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

// Sets one scalar setting from its text; returns what is wrong, or NULL.
static const char *set_scalar(struct load *l, const struct config_field *f, uint8_t *values,
                              const char *text)
{
    void *at = values + f->offset;
    const char *problem = NULL;

    switch (f->type) {
    case CONFIG_INT:
        if (!parse_int(text, at) || *(int64_t *)at < f->min || *(int64_t *)at > f->max)
            return arena_printf(l->arena, "must be a whole number from %lld to %lld",
                                (long long)f->min, (long long)f->max);
        return NULL;
    case CONFIG_BOOL:
        *(bool *)at = strcmp(text, "true") == 0;
        return *(bool *)at || strcmp(text, "false") == 0 ? NULL : "must be true or false";
    default:
        problem = text_problem(f, text);
        *(const char **)at = f->type == CONFIG_PATH ? resolve_path(l, text) : text;
        return problem;
    }
}

static bool is_null(const struct config_node *n)
{
    return n->plain && (*n->text == 0 || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}

static const char *read_scalar(struct section *s, const struct config_field *f,
                               const struct config_node *n)
{
    if (n->kind != CONFIG_SCALAR)
        return "must be a single value";
    if (is_null(n))
        return "has no value (write \"\" for an empty text)";
    if (!n->plain && f->type == CONFIG_INT)
        return "must be a number without quotes";
    if (!n->plain && f->type == CONFIG_BOOL)
        return "must be true or false without quotes";
    return set_scalar(s->load, f, s->values, n->text);
}

static const char *count_problem(struct load *l, const struct config_field *f, size_t count)
{
    if ((int64_t)count >= f->min && (int64_t)count <= f->max)
        return NULL;
    return arena_printf(l->arena, "must list %lld to %lld items", (long long)f->min,
                        (long long)f->max);
}

static void read_strings(struct section *s, const struct config_field *f,
                         const struct config_node *n)
{
    struct config_strings *out = (void *)(s->values + f->offset);
    const char **items = arena_alloc(s->load->arena, (n->count + 1) * sizeof(*items));
    size_t i = 0;

    for (const struct config_node *c = n->children; c; c = c->next, i++) {
        const bool text = c->kind == CONFIG_SCALAR && !is_null(c);
        const char *problem = text ? text_problem(f, c->text) : "must list plain texts";
        items[i] = text ? c->text : "";
        if (problem)
            complain(s->load, c->at, s->path, f->name, "item %zu %s", i + 1, problem);
    }
    items[i] = NULL;
    *out = (struct config_strings){items, n->count};
}

static void read_section(struct section *s, const struct config_node *map,
                         struct config_place start);

static void read_items(struct section *s, const struct config_field *f, const struct config_node *n)
{
    struct config_list *out = (void *)(s->values + f->offset);
    uint8_t *items = arena_zero(s->load->arena, (n->count + 1) * f->item->size);
    size_t i = 0;

    for (const struct config_node *c = n->children; c; c = c->next, i++) {
        struct section item = {.load = s->load, .table = f->item};
        item.values = items + i * f->item->size;
        item.path = arena_printf(s->load->arena, "%s%s[%zu].", s->path, f->name, i);
        if (c->kind == CONFIG_MAP)
            read_section(&item, c, c->at);
        else
            complain(s->load, c->at, s->path, f->name, "item %zu must be a map", i + 1);
    }
    *out = (struct config_list){items, n->count};
}

static void read_list(struct section *s, const struct config_field *f, const struct config_node *n)
{
    const char *problem =
        n->kind == CONFIG_SEQUENCE ? count_problem(s->load, f, n->count) : "must be a list";

    if (problem)
        complain(s->load, n->at, s->path, f->name, "%s", problem);
    else if (f->type == CONFIG_STRINGS)
        read_strings(s, f, n);
    else
        read_items(s, f, n);
}

static void read_field(struct section *s, const struct config_field *f, const struct config_node *n)
{
    if (f->type == CONFIG_STRINGS || f->type == CONFIG_LIST) {
        read_list(s, f, n);
        return;
    }
    const char *problem = read_scalar(s, f, n);
    if (problem)
        complain(s->load, n->at, s->path, f->name, "%s", problem);
}

// ---- Defaults -----------------------------------------------------------------------------------

static void default_strings(struct section *s, const struct config_field *f)
{
    struct config_strings *out = (void *)(s->values + f->offset);
    struct span rest = span_str(f->fallback);

    out->items = arena_alloc(s->load->arena, (rest.len + 1) * sizeof(*out->items));
    out->count = 0;
    while (rest.len > 0)
        out->items[out->count++] = arena_strdup(s->load->arena, span_split(&rest, ' '));
    out->items[out->count] = NULL;
}

static void set_default(struct section *s, const struct config_field *f, struct config_place start)
{
    if (!f->fallback)
        complain(s->load, start, s->path, f->name, "is required and missing");
    else if (f->type == CONFIG_STRINGS)
        default_strings(s, f);
    else if (f->type != CONFIG_LIST) /* an empty list is zero bytes */
        CHECK(set_scalar(s->load, f, s->values, f->fallback) == NULL);
}

// ---- Names --------------------------------------------------------------------------------------

// Edit distance (Levenshtein) of two short names; large when one is long.
static size_t distance(struct span a, struct span b)
{
    size_t row[MAX_NAME + 1];

    if (a.len > MAX_NAME || b.len > MAX_NAME)
        return MAX_NAME;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            const size_t swap = corner + (a.data[i - 1] != b.data[j - 1]);
            const size_t edge = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            corner = row[j];
            row[j] = swap < edge ? swap : edge;
        }
    }
    return row[b.len];
}

// The word of a field's name that stands at the level of `prefix`; empty when it is elsewhere.
static struct span level_word(const struct config_field *f, struct span prefix)
{
    struct span rest = span_str(f->name);

    if (!span_starts(rest, prefix))
        return (struct span){0};
    rest = span_from(rest, prefix.len);
    return span_split(&rest, '.');
}

static void complain_unknown(struct section *s, struct span prefix, const struct config_node *n)
{
    const struct span key = span_str(n->key);
    struct span best = {0};
    size_t best_distance = key.len / 3 + 1;
    const char *path = arena_printf(s->load->arena, "%s%.*s", s->path, SPAN_FMT(prefix));
    const bool shown = s->load->problems < MAX_PROBLEMS;

    for (size_t i = 0; shown && i < s->table->count; i++) {
        const struct span word = level_word(&s->table->fields[i], prefix);
        const size_t d = distance(key, word);
        if (word.len > 0 && d <= best_distance && (best.len == 0 || d < best_distance)) {
            best = word;
            best_distance = d;
        }
    }
    if (best.len > 0)
        complain(s->load, n->key_at, path, n->key, "no such setting; did you mean %.*s?",
                 SPAN_FMT(best));
    else
        complain(s->load, n->key_at, path, n->key, "no such setting");
}

// The field of that full name: its index, or -1; *below tells that longer names begin with it.
static ptrdiff_t find_field(const struct config_table *t, struct span name, bool *below)
{
    *below = false;
    for (size_t i = 0; i < t->count; i++) {
        const struct span field = span_str(t->fields[i].name);
        if (span_eq(field, name))
            return (ptrdiff_t)i;
        if (span_starts(field, name) && field.data[name.len] == '.')
            *below = true;
    }
    return -1;
}

static void read_level(struct section *s, struct span prefix, const struct config_node *map)
{
    for (const struct config_node *n = map->children; n; n = n->next) {
        const struct span name =
            span_str(arena_printf(s->load->arena, "%.*s%s", SPAN_FMT(prefix), n->key));
        bool below;
        const ptrdiff_t i = find_field(s->table, name, &below);
        if (strchr(n->key, '.') || (i < 0 && !below)) {
            complain_unknown(s, prefix, n);
        } else if (i >= 0) {
            s->seen[i] = true;
            read_field(s, &s->table->fields[i], n);
        } else if (n->kind != CONFIG_MAP) {
            complain(s->load, n->at, s->path, (const char *)name.data, "must be a map of settings");
        } else {
            const char *deeper = arena_printf(s->load->arena, "%.*s.", SPAN_FMT(name));
            read_level(s, span_str(deeper), n);
        }
    }
}

static void read_section(struct section *s, const struct config_node *map,
                         struct config_place start)
{
    CHECK(s->table->count <= MAX_FIELDS);
    if (map)
        read_level(s, SPAN(""), map);
    for (size_t i = 0; i < s->table->count; i++) {
        if (!s->seen[i])
            set_default(s, &s->table->fields[i], start);
    }
}

// ---- Files --------------------------------------------------------------------------------------

static int read_fd(int fd, size_t max, struct buf *out)
{
    for (;;) {
        uint8_t *at = buf_reserve(out, 4096);
        const ssize_t n = read(fd, at, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? E_IO : 0;
        out->len += (size_t)n;
        if (out->len > max)
            return E_TOO_LARGE;
    }
}

static int read_file(const char *file, size_t max, struct buf *out)
{
    const int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return E_IO;
    const int error = read_fd(fd, max, out);
    const int saved = errno;
    close(fd);
    errno = saved;
    return error;
}

static int read_tree(struct load *l, struct span text, struct config_snapshot *s,
                     const struct config_table *t)
{
    struct config_node *root;
    struct config_problem problem;

    if (config_tree_parse(l->arena, text, &root, &problem) < 0) {
        complain(l, problem.at, "", t->program, "%s", problem.what);
        return E_INVALID;
    }
    if (root && root->kind != CONFIG_MAP) {
        complain(l, root->at, "", t->program, "the file must be a map of settings");
        return E_INVALID;
    }
    struct section whole = {.load = l, .table = t, .values = s->values, .path = ""};
    read_section(&whole, root, (struct config_place){1, 1});
    if (l->problems > MAX_PROBLEMS)
        buf_printf(l->why, "%s: and %u more problems\n", l->file, l->problems - MAX_PROBLEMS);
    return l->problems ? E_INVALID : 0;
}

static struct span folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');

    return span_of(file, slash ? (size_t)(slash - file) + 1 : 0);
}

int config_load(struct config_snapshot **out, const struct config_table *t, const char *file,
                struct buf *why)
{
    AUTO(buf_wipe) struct buf text = {0};

    *out = NULL;
    const int error = read_file(file, CONFIG_MAX_BYTES, &text);
    if (error == E_IO) {
        buf_printf(why, "%s: cannot be read: %s\n", file, strerror(errno));
        return E_IO;
    }
    struct config_snapshot *s = mem_zero(sizeof(*s));
    struct load l = {.file = file, .folder = folder_of(file), .arena = &s->arena, .why = why};
    s->refs = 1;
    s->values = arena_zero(&s->arena, t->size);
    const int result = read_tree(&l, buf_span(&text), s, t);
    if (result < 0)
        config_unref(s);
    else
        *out = s;
    return result;
}

struct config_snapshot *config_ref(struct config_snapshot *s)
{
    s->refs++;
    return s;
}

void config_unref(struct config_snapshot *s)
{
    if (!s || --s->refs > 0)
        return;
    arena_fini(&s->arena);
    free(s);
}
