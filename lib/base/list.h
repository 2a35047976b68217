/* Intrusive doubly linked list: the link lives inside the object. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* Both the head and each member's link. A head is initialised with list_init; a link that is in no
 * list is {0} or self-linked. */
struct list {
    struct list *next;
    struct list *prev;
};

#define CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
/* `it` walks the links; the body must not remove members. */
#define LIST_FOREACH(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
/* The body may remove `it` itself. */
#define LIST_FOREACH_SAFE(it, head)                                                                \
    for (struct list *it = (head)->next, *it##_next_ = it->next; it != (head);                     \
         it = it##_next_, it##_next_ = it->next)

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l || !l->next;
}

static inline void list_push(struct list *head, struct list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Takes the link out of whatever list it is in; harmless when it is in none. */
static inline void list_del(struct list *link)
{
    if (!link->next)
        return;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Takes the first link out and returns it; NULL when empty. */
static inline struct list *list_pop(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *first = head->next;
    head->next = first->next; // spelt out: analyzers see that `first` is gone from the list
    head->next->prev = head;
    list_init(first);
    return first;
}

#endif
