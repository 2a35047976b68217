/* Tells events apart by their fixed outer form, without reading their JSON. */
#include "openai/stream.h"

bool stream_is_usage(struct span bytes)
{
    return span_ends(bytes, SPAN("}}\n\n")) && span_find(bytes, SPAN("\"choices\":[]")) >= 0;
}

bool stream_is_closing(struct span bytes)
{
    return span_ends(bytes, SPAN("data: [DONE]\n\n")) || stream_is_usage(bytes);
}

#define ERROR_EVENT "data: {\"error\":"

static bool is_error(struct span bytes)
{
    return span_starts(bytes, SPAN(ERROR_EVENT));
}

bool stream_has_error(struct span bytes)
{
    return is_error(bytes) || span_find(bytes, SPAN("\n" ERROR_EVENT)) >= 0;
}

bool stream_is_server_error(struct span bytes)
{
    return is_error(bytes) && span_find(bytes, SPAN("\"type\":\"server_error\"")) >= 0;
}
