/* The shipped example files: they load, name every setting, and show its default. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "config/canaries_config.h"
#include "config/client_config.h"
#include "config/config_tree.h"
#include "config/gateway_config.h"
#include "config/ledger_config.h"
#include "config/worker_config.h"

static void read_text(const char *file, struct buf *out)
{
    FILE *in = fopen(file, "r");

    assert_non_null(in);
    out->len += fread(buf_reserve(out, 65536), 1, 65536, in);
    fclose(in);
}

static const struct config_node *child(const struct config_node *map, struct span key)
{
    for (const struct config_node *c = map ? map->children : NULL; c; c = c->next) {
        if (span_is(key, c->key))
            return c;
    }
    return NULL;
}

static const struct config_node *find(const struct config_node *root, const char *name)
{
    struct span rest = span_str(name);

    while (root && rest.len > 0)
        root = child(root, span_split(&rest, '.'));
    return root;
}

static void expect_strings(const struct config_field *f, const struct config_node *n)
{
    AUTO(buf_fini) struct buf text = {0};

    for (const struct config_node *c = n->children; c; c = c->next)
        buf_printf(&text, "%s%s", text.len ? " " : "", c->text);
    assert_string_equal(buf_cstr(&text), f->fallback);
}

/* A list that is empty unless it is set shows an item in comments. */
static void expect_comment(const struct config_table *t, struct span text)
{
    for (size_t i = 0; i < t->count; i++) {
        AUTO(buf_fini) struct buf line = {0};
        const struct config_field *f = &t->fields[i];
        const char *value = !f->fallback ? "" : *f->fallback ? f->fallback : "\"\"\n";
        buf_printf(&line, " %s: %s", f->name, value);
        if (span_find(text, buf_span(&line)) < 0)
            fail_msg("%s: no comment of the example shows %s", t->program, f->name);
        assert_non_null(f->help);
    }
}

static void expect_fields(const struct config_table *t, const struct config_node *root,
                          struct span text)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct config_field *f = &t->fields[i];
        const struct config_node *n = find(root, f->name);
        if (!n)
            fail_msg("%s: the example does not name %s", t->program, f->name);
        if (f->item && f->min == 0 && !n->children)
            expect_comment(f->item, text);
        else if (f->item)
            expect_fields(f->item, n->children, text);
        else if (f->fallback && f->type == CONFIG_STRINGS)
            expect_strings(f, n);
        else if (f->fallback && strcmp(n->text, f->fallback) != 0)
            fail_msg("%s: the example shows another default of %s", t->program, f->name);
        assert_non_null(f->help);
    }
}

static void expect_example(const struct config_table *t, const char *file)
{
    AUTO(buf_fini) struct buf text = {0}, why = {0};
    struct arena arena = {0};
    struct config_node *root;
    struct config_problem problem;
    struct config_snapshot *s;

    if (config_load(&s, t, file, &why) < 0)
        fail_msg("%s", buf_cstr(&why));
    config_unref(s);
    read_text(file, &text);
    assert_int_equal(config_tree_parse(&arena, buf_span(&text), &root, &problem), 0);
    expect_fields(t, root, buf_span(&text));
    arena_fini(&arena);
}

static void the_gateways_example_is_complete(void **state)
{
    (void)state;
    expect_example(&gateway_config_table, "config/gateway.example.yaml");
}

static void the_workers_example_is_complete(void **state)
{
    (void)state;
    expect_example(&worker_config_table, "config/worker.example.yaml");
}

static void the_ledgers_example_is_complete(void **state)
{
    (void)state;
    expect_example(&ledger_config_table, "config/ledger.example.yaml");
}

static void the_example_of_canaries_is_complete(void **state)
{
    (void)state;
    expect_example(&canaries_config_table, "config/canaries.example.yaml");
}

static void every_field_has_a_place_of_its_own(void **state)
{
    const struct config_table *tables[] = {&gateway_config_table, &worker_config_table,
                                           &ledger_config_table, &canaries_config_table};

    (void)state;
    for (size_t k = 0; k < sizeof(tables) / sizeof(tables[0]); k++) {
        for (size_t i = 0; i < tables[k]->count; i++) {
            for (size_t j = 0; j < i; j++) {
                assert_int_not_equal(tables[k]->fields[i].offset, tables[k]->fields[j].offset);
                assert_string_not_equal(tables[k]->fields[i].name, tables[k]->fields[j].name);
            }
        }
    }
}

static void the_workers_example_gives_its_items(void **state)
{
    AUTO(buf_fini) struct buf why = {0};
    struct config_snapshot *s;

    (void)state;
    assert_int_equal(config_load(&s, &worker_config_table, "config/worker.example.yaml", &why), 0);
    const struct worker_config *c = s->values;
    const struct worker_operator *op = c->operators.items;
    const struct worker_model *model = c->models.items;
    assert_int_equal(c->operators.count, 1);
    assert_string_equal(op->gateways.items[0], "gateway.example.org:8443");
    assert_int_equal(op->pins.count, 1);
    assert_int_equal(model->context, 32768);
    assert_string_equal(c->hours_sun, "always");
    assert_int_equal(c->body_bytes, 33554432 + 65536);
    config_unref(s);
}

static void the_clients_example_is_complete(void **state)
{
    (void)state;
    expect_example(&client_config_table, "config/client.example.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gateways_example_is_complete),
        cmocka_unit_test(the_workers_example_is_complete),
        cmocka_unit_test(the_clients_example_is_complete),
        cmocka_unit_test(the_ledgers_example_is_complete),
        cmocka_unit_test(the_example_of_canaries_is_complete),
        cmocka_unit_test(every_field_has_a_place_of_its_own),
        cmocka_unit_test(the_workers_example_gives_its_items),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
