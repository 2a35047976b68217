/* The named faults: faults.def as functions and a table. */
#include "devtee/faults.h"

#include "devtee/levels.h"

/* Offsets in the TD report, in the QE report (attestation.md §1, §2, §3). */
enum {
    SVN = 0,
    MRSIGNERSEAM = 64,
    SEAMATTRIBUTES = 112,
    ATTRIBUTES = 120,
    XFAM = 128,
    MRTD = 136,
    MRCONFIGID = 184,
    RTMR3 = 472,
    REPORTDATA = 520,
    SVN_2 = 584,
    MRSERVICETD = 600,
    VM_INDEX = 648,
    INIT_SERVICE_TD = 729,
    SERVICE_TD_NOW = 829,

    QE_MISCSELECT = 16,
    QE_ATTRIBUTES = 48,
    QE_MRSIGNER = 128,
    QE_PRODUCT = 256,
    QE_SVN = 258,
    QE_DATA = 320,
};

static void add_patch(struct devtee_patches *list, size_t at, struct span bytes)
{
    CHECK(list->count < DEVTEE_EDITS_MAX && bytes.len <= DEVTEE_PATCH_LEN);
    struct devtee_patch *p = &list->items[list->count++];
    *p = (struct devtee_patch){.at = at, .len = bytes.len};
    memcpy(p->bytes, bytes.data, bytes.len);
}

static void add_edit(struct devtee_edits *list, const char *from, const char *to)
{
    CHECK(list->count < DEVTEE_EDITS_MAX);
    list->items[list->count++] = (struct devtee_edit){from, to};
}

#define BYTES(...)         SPAN_OF(((const uint8_t[]){__VA_ARGS__}))
#define HEADER(at, ...)    add_patch(&f->header, at, BYTES(__VA_ARGS__))
#define BODY(at, ...)      add_patch(&f->body, at, BYTES(__VA_ARGS__))
#define QE(at, ...)        add_patch(&f->qe_report, at, BYTES(__VA_ARGS__))
#define TCB(from, to)      add_edit(&f->tcb_info, from, to)
#define IDENTITY(from, to) add_edit(&f->qe_identity, from, to)
#define SOMETHING_ELSE     0xde, 0xad, 0xde, 0xad, 0xde, 0xad, 0xde, 0xad
#define NEWEST(status)     TCB(NEWEST_STATUS "UpToDate", NEWEST_STATUS status)

#define X(name, help, reason, status, ...)                                                         \
    static void set_##name(struct devtee_faults *f)                                                \
    {                                                                                              \
        __VA_ARGS__;                                                                               \
    }
#include "devtee/faults.def"
#undef X

const struct devtee_fault devtee_fault_table[] = {
#define X(name, help, reason, status, ...) {#name, help, set_##name, ATTEST_##reason, TCB_##status},
#include "devtee/faults.def"
#undef X
    {NULL, NULL, NULL, ATTEST_OK, TCB_NONE},
};

int devtee_fault_add(struct devtee_faults *f, const char *name)
{
    for (const struct devtee_fault *it = devtee_fault_table; it->name; it++) {
        if (strcmp(it->name, name) != 0)
            continue;
        it->set(f);
        return 0;
    }
    return E_NOT_FOUND;
}
