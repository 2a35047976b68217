/* Asks one question of a verified worker and prints the events of its answer:
 *
 *   cc docs/examples/chat.c -lcocoon -lcurl -ljansson -lcrypto -lpthread -o chat
 *   chat https://gateway.example.org policy.json RELEASE_KEY MODEL "Why is the sky blue?"
 *
 * The API key comes from COCOON_API_KEY; COCOON_INSECURE_DEV=1 accepts a policy for development. */
#include <cocoon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As the inside of a JSON string; false when it does not fit. */
static bool quote(const char *text, char *out, size_t size)
{
    size_t n = 0;

    for (; *text; text++) {
        if (n + 7 > size)
            return false;
        if (*text == '"' || *text == '\\')
            out[n++] = '\\';
        if ((unsigned char)*text < 0x20)
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", (unsigned)*text);
        else
            out[n++] = *text;
    }
    out[n] = '\0';
    return true;
}

static int ask(struct cocoon *c, const char *json)
{
    char why[COCOON_WHY_LEN];
    struct cocoon_chat *chat;
    const char *bytes;
    size_t len;
    enum cocoon_result r;

    if (cocoon_chat(c, json, strlen(json), &chat, why) != COCOON_OK) {
        fprintf(stderr, "%s\n", why);
        return EXIT_FAILURE;
    }
    while ((r = cocoon_read(chat, &bytes, &len)) == COCOON_EVENT) {
        fwrite(bytes, 1, len, stdout);
        fflush(stdout);
    }
    if (r != COCOON_OK)
        fprintf(stderr, "%s\n", cocoon_error(chat));
    cocoon_chat_close(chat);
    return r == COCOON_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    char why[COCOON_WHY_LEN], model[300], question[4000], json[5000];
    struct cocoon_verdict verdict;
    struct cocoon *c;

    if (argc != 6 || !quote(argv[4], model, sizeof(model)) ||
        !quote(argv[5], question, sizeof(question))) {
        fprintf(stderr, "usage: chat GATEWAY POLICY RELEASE_KEY MODEL QUESTION\n");
        return 2;
    }
    const char *keys[] = {argv[3]};
    const struct cocoon_options options = {
        .gateway = argv[1],
        .api_key = getenv("COCOON_API_KEY"),
        .policy_file = argv[2],
        .release_keys = keys,
        .release_key_count = 1,
        .key_file = "cocoon.key",
        .insecure_dev = getenv("COCOON_INSECURE_DEV") != NULL,
    };
    if (cocoon_open(&c, &options, why) != COCOON_OK) {
        fprintf(stderr, "%s\n", why);
        return EXIT_FAILURE;
    }
    int status = EXIT_FAILURE;
    if (cocoon_verify(c, argv[4], &verdict, why) != COCOON_OK) {
        fprintf(stderr, "%s\n", why);
    } else {
        fprintf(stderr, "worker: %s, measurement \"%s\", platform %s\n", verdict.environment,
                verdict.measurement, verdict.tcb_status);
        snprintf(json, sizeof(json),
                 "{\"model\":\"%s\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":"
                 "\"%s\"}]}",
                 model, question);
        status = ask(c, json);
    }
    cocoon_close(c);
    return status;
}
