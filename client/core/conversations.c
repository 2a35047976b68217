/* A bounded map, the oldest entry goes. */
#include "client/core/conversations.h"

#include <stdlib.h>

struct conversation {
    struct list link;
    struct next_keys next;
    char name[];
};

void conversations_init(struct conversations *c)
{
    *c = (struct conversations){0};
    list_init(&c->order);
}

static void drop(struct conversations *c, struct conversation *v)
{
    (void)map_del(&c->by_name, span_str(v->name));
    list_del(&v->link);
    free(v);
}

void conversations_fini(struct conversations *c)
{
    LIST_FOREACH_SAFE(it, &c->order)
        drop(c, CONTAINER(it, struct conversation, link));
    map_fini(&c->by_name);
}

static struct conversation *make(struct conversations *c, struct span name)
{
    struct conversation *v = mem_zero(sizeof(*v) + name.len + 1);

    if (c->by_name.len >= CONVERSATIONS_MAX)
        drop(c, CONTAINER(c->order.next, struct conversation, link));
    memcpy(v->name, name.data, name.len);
    (void)map_put(&c->by_name, name, v);
    return v;
}

void conversations_note(struct conversations *c, struct span name, const struct next_keys *next)
{
    struct conversation *v = map_get(&c->by_name, name);

    if (v)
        list_del(&v->link);
    else
        v = make(c, name);
    list_push(&c->order, &v->link);
    v->next = *next;
}

const struct next_keys *conversations_find(const struct conversations *c, struct span name)
{
    const struct conversation *v = map_get(&c->by_name, name);

    return v ? &v->next : NULL;
}
