/* The table of a file of canaries. */
#include "config/canaries_config.h"

#include <string.h>

#include "config/check.h"
#include "config/fields.h"

enum { ANSWERS_MAX = 64, CANARIES_MAX = 1000, TOKENS_MAX = 100000, TEXT_MAX = 65536 };

static const char *text_short(const char *text)
{
    return strlen(text) > TEXT_MAX ? "is longer than 65536 bytes" : NULL;
}

static const char *text_given(const char *text)
{
    return text[strspn(text, " \t\r\n\v\f")] ? text_short(text) : "must not be empty";
}

#define FIELDS_OF canary_answer

static const struct config_field answer_fields[] = {
    TEXT("text", text, NULL, text_given, "an answer that is right; white space around it is none"),
    NUMBER("tokens", tokens, NULL, 1, TOKENS_MAX, "completion tokens of it"),
};
static const struct config_table answer_table = TABLE("an answer", answer_fields);

#undef FIELDS_OF
#define FIELDS_OF canary

static const struct config_field canary_fields[] = {
    TEXT("model", model, NULL, setting_model, "as its workers name it"),
    TEXT("system", system, "", text_short, "the system message; empty: none"),
    TEXT("prompt", prompt, NULL, text_given, "the user's message"),
    NUMBER("max_tokens", max_tokens, "32", 1, TOKENS_MAX, "most completion tokens"),
    NUMBER("prompt_tokens", prompt_tokens, "0", 0, TOKENS_MAX,
           "what all of the prompt counts as; 0: not compared"),
    NUMBER("prefix", prefix, "0", 0, TEXT_MAX,
           "characters of an answer that are compared; 0: all of it"),
    NUMBER("tolerance", tolerance, "0", 0, TOKENS_MAX,
           "completion tokens that an answer may have more or less"),
    LIST("answers", answers, "", 0, ANSWERS_MAX, &answer_table,
         "what is right; cocoonctl canaries record writes it"),
};
static const struct config_table canary_table = TABLE("a canary", canary_fields);

#undef FIELDS_OF
#define FIELDS_OF canaries_config

static const struct config_field file_fields[] = {
    TEXT("gateway", gateway, NULL, setting_gateway_url,
         "https://host, http://host:port or unix:/path: where users come too"),
    PATH("ca_file", ca_file, "", "PEM: CAs of the gateway's certificate; empty: the system's"),
    PATH("policy", policy, NULL, "which workers are accepted; signed in the same name with .sig"),
    TEXTS("release_keys", release_keys, NULL, 1, 16, setting_pin,
          "public keys; one of them must have signed the policy"),
    COLLATERAL_FIELDS(""),
    FLAG("insecure_dev", insecure_dev, "false", "accept a policy for development"),
    PATH("key_file", key_file, NULL,
         "this file's own secret, made when it is not there; beside it <key_file>.trust"),
    PATH("api_key_file", api_key_file, NULL, "a file (0600) with the API key that pays"),
    NUMBER("max_coefficient", max_coefficient, "0", 0, 1000000,
           "bid in 1/1000 of the price book, so that dear workers are asked too; 0: the key's"),
    NUMBER("timeout_s", timeout_s, "60", 1, 3600, "seconds that one canary may take"),
    LIST("canaries", canaries, NULL, 1, CANARIES_MAX, &canary_table, "prompts and answers"),
};

const struct config_table canaries_config_table = TABLE("cocoonctl canaries", file_fields);
