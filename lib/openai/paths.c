/* The list of api.md §1.5. The first row that matches answers. */
#include "openai/paths.h"

enum { EXACT, UNDER /* below the path only */, BOTH };

static const struct {
    struct path_refusal is;
    int match;
} refusals[] = {
    {{"/chat/completions", &ERR_NOT_STORED}, UNDER},
    {{"/responses/compact", &ERR_NOT_STORED_RESPONSES}, EXACT},
    {{"/responses/input_tokens", &ERR_NO_RESPONSES}, EXACT},
    {{"/responses", &ERR_NO_RESPONSES}, EXACT},
    {{"/responses", &ERR_NOT_STORED_RESPONSES}, UNDER},
    {{"/conversations", &ERR_NOT_STORED_RESPONSES}, BOTH},
    {{"/files", &ERR_NO_FILES}, BOTH},
    {{"/uploads", &ERR_NO_FILES}, BOTH},
    {{"/vector_stores", &ERR_NO_FILES}, BOTH},
    {{"/containers", &ERR_NO_FILES}, BOTH},
    {{"/assistants", &ERR_NO_ASSISTANTS}, BOTH},
    {{"/threads", &ERR_NO_ASSISTANTS}, BOTH},
    {{"/fine_tuning", &ERR_NO_FINE_TUNING}, BOTH},
    {{"/fine-tunes", &ERR_NO_FINE_TUNING}, BOTH},
    {{"/evals", &ERR_NO_FINE_TUNING}, BOTH},
    {{"/moderations", &ERR_NO_MODERATION}, BOTH},
    {{"/realtime", &ERR_NO_REALTIME}, BOTH},
    {{"/batches", &ERR_NO_BATCHES}, BOTH},
    {{"/messages/batches", &ERR_NO_BATCHES}, BOTH},
    {{"/messages", &ERR_NO_RESPONSES}, BOTH},
    {{"/images", &ERR_NO_IMAGES}, BOTH},
    {{"/audio", &ERR_NO_AUDIO}, BOTH},
    {{"/videos", &ERR_NO_VIDEO}, BOTH},
    {{"/rerank", &ERR_NOT_IMPLEMENTED}, EXACT},
    {{"/reranking", &ERR_NOT_IMPLEMENTED}, EXACT},
    {{"/v2/rerank", &ERR_NOT_IMPLEMENTED}, EXACT},
    {{"/score", &ERR_NOT_IMPLEMENTED}, EXACT},
    {{"/tokenize", &ERR_NOT_IMPLEMENTED}, EXACT},
    {{"/detokenize", &ERR_NOT_IMPLEMENTED}, EXACT},
};

const struct path_refusal *path_refusal(struct span path)
{
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct span own = span_str(refusals[i].is.path);
        const bool same = span_eq(path, own);
        const bool under =
            span_starts(path, own) && path.len > own.len + 1 && path.data[own.len] == '/';
        if ((same && refusals[i].match != UNDER) || (under && refusals[i].match != EXACT))
            return &refusals[i].is;
    }
    return NULL;
}
