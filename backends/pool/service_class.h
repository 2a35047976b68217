/* Service classes, in the order in which they are served (pool.md §3). */
#ifndef BACKENDS_POOL_SERVICE_CLASS_H
#define BACKENDS_POOL_SERVICE_CLASS_H

#include "base/span.h"

enum service_class { CLASS_INTERNAL, CLASS_INTERACTIVE, CLASS_BATCH, CLASSES };

static inline const char *service_class_name(enum service_class c)
{
    static const char *const names[CLASSES] = {"internal", "interactive", "batch"};
    return names[c];
}

/* Of a key's record, where it was checked; anything else is interactive. */
static inline enum service_class service_class_of(struct span name)
{
    if (span_is(name, "internal"))
        return CLASS_INTERNAL;
    return span_is(name, "batch") ? CLASS_BATCH : CLASS_INTERACTIVE;
}

#endif
