/* Checks of single values: what is taken and what is refused. */
#include "config/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef const char *check_fn(const char *text);

static void take(check_fn *check, const char *const *texts)
{
    for (; *texts; texts++) {
        if (check(*texts))
            fail_msg("'%s' was refused: %s", *texts, check(*texts));
    }
}

static void refuse(check_fn *check, const char *const *texts)
{
    for (; *texts; texts++) {
        if (!check(*texts))
            fail_msg("'%s' was taken", *texts);
    }
}

#define TAKE(check, ...)   take(check, (const char *const[]){__VA_ARGS__, NULL})
#define REFUSE(check, ...) refuse(check, (const char *const[]){__VA_ARGS__, NULL})

static void listening_addresses_are_numbers(void **state)
{
    (void)state;
    TAKE(setting_listen, "127.0.0.1:80", "0.0.0.0:0", ":80", "[::1]:80", "[::]:8443",
         "unix:/run/a");
    REFUSE(setting_listen, "", "80", "localhost:80", "127.0.0.1", "127.0.0.1:65536", "[::1]",
           "::1:80", "127.0.0.1:08", "unix:", "unix:a", "unix:/", "[127.0.0.1]:80",
           "127.0.0.1:80 ");
}

static void a_class_of_service_is_one_of_three(void **state)
{
    (void)state;
    TAKE(setting_class, "interactive", "batch", "internal");
    REFUSE(setting_class, "", "Internal", "root", "internal ");
}

static void a_name_of_a_certificate_is_of_a_kind(void **state)
{
    (void)state;
    TAKE(setting_san, "DNS:assistant.internal", "DNS:a", "URI:spiffe://example.org/ns/a/sa/b");
    REFUSE(setting_san, "", "DNS:", "URI:", "DNS", "assistant", "DNS:*.internal", "DNS:A.internal",
           "dns:a", "URI:a b", "URI:a\nb", "IP:127.0.0.1");
    TAKE(setting_listen_tcp, "127.0.0.1:1", "[::1]:8444", ":8444");
    REFUSE(setting_listen_tcp, "", "unix:/run/a", "localhost:1");
}

static void admin_listeners_stay_on_the_machine(void **state)
{
    (void)state;
    TAKE(setting_listen_local, "127.0.0.1:9090", "127.8.0.1:1", "[::1]:9090", "unix:/run/a");
    REFUSE(setting_listen_local, "0.0.0.0:9090", ":9090", "[::]:9090", "10.0.0.1:9090",
           "127.evil.org:9090");
}

static void a_socket_path_fits_the_kernel(void **state)
{
    char path[200] = "unix:/";

    (void)state;
    for (size_t i = 6; i < 120; i++)
        path[i] = 'a';
    assert_non_null(setting_unix(path));
    path[5 + 107] = 0;
    assert_null(setting_unix(path));
}

static void dialled_addresses_may_be_names(void **state)
{
    (void)state;
    TAKE(setting_host_port, "gw.example.org:8443", "127.0.0.1:1", "[2001:db8::1]:443");
    REFUSE(setting_host_port, ":8443", "gw.example.org", "gw:0", "gw:", "g w:1", "http://gw:1", "");
}

static void redis_is_a_server_sentinels_or_a_cluster(void **state)
{
    (void)state;
    TAKE(setting_redis_url, "redis://127.0.0.1:6379", "redis://:p@ss@10.0.0.1:1/2",
         "redis://[::1]:6379/0", "unix:/run/redis.sock", "unix:/run/redis.sock?db=3",
         "unix::p@ss@/run/r", "rediss://redis.example.org:1", "redis+cluster://a:1,b:2",
         "redis+sentinel://a:1,b:2/main");
    REFUSE(setting_redis_url, "127.0.0.1:6379", "redis://h", "redis://127.0.0.1:1/x",
           "redis+sentinel://a:1", "redis+cluster://a:1/1", "unix:/r?db=", "unix:/r?db=x", "");
    TAKE(setting_redis_user, "", "gateway");
    REFUSE(setting_redis_user, "a b", "a:b");
    TAKE(setting_redis_tls_name, "", "redis.example.org", "10.0.0.1", "::1");
    REFUSE(setting_redis_tls_name, "a b", "redis:6379");
}

static void engines_are_on_the_same_machine(void **state)
{
    (void)state;
    TAKE(setting_engine_url, "http://127.0.0.1:8000", "http://localhost:8000/base",
         "http://[::1]:80/", "unix:/run/engine.sock");
    REFUSE(setting_engine_url, "http://10.0.0.1:8000", "https://127.0.0.1:8000", "http://127.0.0.1",
           "http://127.0.0.1.evil.org:80", "http://[::2]:80", "http://engine:80",
           "http://u@127.0.0.1:80", "");
}

static void pins_and_payouts_are_hex(void **state)
{
    (void)state;
    TAKE(setting_pin, HEX64);
    REFUSE(setting_pin, "", "0" HEX64, "0123", "0123456789ABCDEF" HEX64, HEX64 " ");
    TAKE(setting_payout, "0:" HEX64, "-1:" HEX64);
    REFUSE(setting_payout, HEX64, "1:" HEX64, "0:0123", "0:" HEX64 "0", "-1:", "");
}

static void hours_are_ranges_of_one_day(void **state)
{
    (void)state;
    TAKE(setting_hours, "always", "", "00:00-24:00", "09:00-17:30", "00:00-06:00,22:00-24:00");
    REFUSE(setting_hours, "never", "9:00-17:00", "09:00", "09:00-25:00", "09:60-10:00",
           "22:00-06:00", "09:00-09:00", "09:00-10:00,", ",", "09:00-10:00;11:00-12:00",
           "09:00 10:00", "00:00-24:01");
}

static void choices_come_from_their_lists(void **state)
{
    (void)state;
    TAKE(setting_log_level, "debug", "info", "warn", "error");
    REFUSE(setting_log_level, "", "INFO", "trace");
    TAKE(setting_engine_kind, "auto", "llamacpp", "vllm", "sglang", "generic");
    REFUSE(setting_engine_kind, "ollama");
    TAKE(setting_quote_provider, "none", "tsm", "socket:/run/devtee.sock");
    REFUSE(setting_quote_provider, "", "sev", "socket:", "socket:/", "socket:run/devtee.sock",
           "TSM");
    TAKE(setting_gpu, "none", "nvidia-cc");
    REFUSE(setting_gpu, "", "amd");
    TAKE(setting_endpoint, "chat", "completions", "embeddings");
    REFUSE(setting_endpoint, "models", "");
}

static void proxies_and_origins(void **state)
{
    (void)state;
    TAKE(setting_proxy, "unix", "127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "::1", "0.0.0.0/0");
    REFUSE(setting_proxy, "", "localhost", "10.0.0.0/33", "10.0.0.0/", "2001:db8::/129",
           "10.0.0/8");
    TAKE(setting_gateway_url, "https://gw.example.org", "http://127.0.0.1:8080",
         "http://[::1]:1/v1", "unix:/run/gw.sock");
    REFUSE(setting_gateway_url, "", "gw.example.org", "ftp://gw", "https://", "https:///v1",
           "https://u@gw", "https://gw?x", "https://gw#x", "https://g w", "unix:");
    TAKE(setting_padding, "none", "pow2", "64");
    REFUSE(setting_padding, "", "65");
    TAKE(setting_origin, "*", "https://app.example.org", "http://localhost:3000",
         "tauri://localhost");
    REFUSE(setting_origin, "", "app.example.org", "https://a/", "https://", "://a", "https://a b");
}

static void labels_and_models(void **state)
{
    (void)state;
    TAKE(setting_label, "w-0001", "A.b_c");
    REFUSE(setting_label, "", "a b", "a/b", "\xc3\xa9");
    TAKE(setting_extra, "top_k", "dry_*", "a");
    REFUSE(setting_extra, "", "*", "a b", "a*b", "a**", "top_k\n");
    TAKE(setting_denied, "logit_bias", "mirostat*", "models", "prompt_logprobs", "in");
    REFUSE(setting_denied, "", "*", "model", "messages", "prompt", "input", "m*", "prompt*", "in*");
    TAKE(setting_model, "Qwen/Qwen3-0.6B", "m");
    REFUSE(setting_model, "", "a b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listening_addresses_are_numbers),
        cmocka_unit_test(admin_listeners_stay_on_the_machine),
        cmocka_unit_test(a_name_of_a_certificate_is_of_a_kind),
        cmocka_unit_test(a_class_of_service_is_one_of_three),
        cmocka_unit_test(a_socket_path_fits_the_kernel),
        cmocka_unit_test(dialled_addresses_may_be_names),
        cmocka_unit_test(redis_is_a_server_sentinels_or_a_cluster),
        cmocka_unit_test(engines_are_on_the_same_machine),
        cmocka_unit_test(pins_and_payouts_are_hex),
        cmocka_unit_test(hours_are_ranges_of_one_day),
        cmocka_unit_test(choices_come_from_their_lists),
        cmocka_unit_test(proxies_and_origins),
        cmocka_unit_test(labels_and_models),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
