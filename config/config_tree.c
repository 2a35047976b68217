/* Turns libyaml's events into a tree of maps, lists and scalars. */
#include "config/config_tree.h"

#include <yaml.h>

struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the present one; events are freed as the next is read */
    bool has_event;
    struct arena *arena;
    size_t nodes;
    struct config_problem *problem;
};

static struct config_place place_of(yaml_mark_t mark)
{
    return (struct config_place){mark.line + 1, mark.column + 1};
}

static int refuse(struct reader *r, struct config_place at, const char *what)
{
    *r->problem = (struct config_problem){at, what};
    return E_INVALID;
}

static int refuse_event(struct reader *r, const char *what)
{
    return refuse(r, place_of(r->event.start_mark), what);
}

static int next_event(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->yaml, &r->event);
    if (r->has_event)
        return 0;
    const char *what = r->yaml.problem ? r->yaml.problem : "is not YAML";
    return refuse(r, place_of(r->yaml.problem_mark), what);
}

// Anchors and tags make a file mean something else than it shows.
static int check_plain(struct reader *r, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor)
        return refuse_event(r, "anchors and aliases are not allowed");
    if (tag)
        return refuse_event(r, "tags are not allowed");
    return 0;
}

static int read_node(struct reader *r, size_t depth, struct config_node **out);

static int read_scalar(struct reader *r, struct config_node *n)
{
    const yaml_char_t *text = r->event.data.scalar.value;
    const size_t len = r->event.data.scalar.length;

    TRY(check_plain(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    if (memchr(text, 0, len))
        return refuse_event(r, "a text holds a NUL byte");
    n->kind = CONFIG_SCALAR;
    n->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->text = arena_strdup(r->arena, span_of(text, len));
    return 0;
}

static const struct config_node *find_key(const struct config_node *map, const char *key)
{
    for (const struct config_node *c = map->children; c; c = c->next) {
        if (strcmp(c->key, key) == 0)
            return c;
    }
    return NULL;
}

static int read_key(struct reader *r, const struct config_node *map, const char **key)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse_event(r, "a name must be a plain word");
    TRY(check_plain(r, r->event.data.scalar.anchor, r->event.data.scalar.tag));
    const struct span name = span_of(r->event.data.scalar.value, r->event.data.scalar.length);
    if (!span_visible(name, 64))
        return refuse_event(r, "a name must be a plain word");
    *key = arena_strdup(r->arena, name);
    return find_key(map, *key) ? refuse_event(r, "the name stands here twice") : 0;
}

static int read_map(struct reader *r, size_t depth, struct config_node *n)
{
    struct config_node **tail = &n->children;

    TRY(check_plain(r, r->event.data.mapping_start.anchor, r->event.data.mapping_start.tag));
    n->kind = CONFIG_MAP;
    for (;;) {
        TRY(next_event(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        const char *key = NULL;
        const struct config_place key_at = place_of(r->event.start_mark);
        TRY(read_key(r, n, &key));
        TRY(next_event(r));
        TRY(read_node(r, depth + 1, tail));
        (*tail)->key = key;
        (*tail)->key_at = key_at;
        tail = &(*tail)->next;
        n->count++;
    }
}

static int read_sequence(struct reader *r, size_t depth, struct config_node *n)
{
    struct config_node **tail = &n->children;

    TRY(check_plain(r, r->event.data.sequence_start.anchor, r->event.data.sequence_start.tag));
    n->kind = CONFIG_SEQUENCE;
    for (;;) {
        TRY(next_event(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        TRY(read_node(r, depth + 1, tail));
        tail = &(*tail)->next;
        n->count++;
    }
}

// Reads the node that the present event begins. *out may point into a list under construction, so
// it is set only when the node is whole.
static int read_node(struct reader *r, size_t depth, struct config_node **out)
{
    if (depth > CONFIG_MAX_DEPTH || ++r->nodes > CONFIG_MAX_NODES)
        return refuse_event(r, "the file is too deep or too long");
    struct config_node *n = arena_zero(r->arena, sizeof(*n));
    n->at = place_of(r->event.start_mark);
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        TRY(read_scalar(r, n));
        break;
    case YAML_MAPPING_START_EVENT:
        TRY(read_map(r, depth, n));
        break;
    case YAML_SEQUENCE_START_EVENT:
        TRY(read_sequence(r, depth, n));
        break;
    default:
        return refuse_event(r, "anchors and aliases are not allowed");
    }
    *out = n;
    return 0;
}

static int read_document(struct reader *r, struct config_node **root)
{
    TRY(next_event(r)); /* stream start */
    TRY(next_event(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return 0;
    TRY(next_event(r)); /* behind the document's start */
    TRY(read_node(r, 1, root));
    TRY(next_event(r)); /* document end */
    TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return refuse_event(r, "only one document is allowed");
    return 0;
}

int config_tree_parse(struct arena *a, struct span text, struct config_node **root,
                      struct config_problem *problem)
{
    struct reader r = {.arena = a, .problem = problem};

    *root = NULL;
    if (text.len > CONFIG_MAX_BYTES)
        return refuse(&r, (struct config_place){1, 1}, "the file is larger than 1 MiB");
    CHECK(yaml_parser_initialize(&r.yaml));
    yaml_parser_set_input_string(&r.yaml, text.len ? text.data : (const uint8_t *)"", text.len);
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    const int error = read_document(&r, root);
    if (r.has_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    return error;
}
