/* Init data of Mini Apps and the tokens made for it. Two vectors are public: the first that of the
 * documentation of the Mini Apps' init data packages, the second from Telegram's test environment,
 * signed by Telegram itself. */
#include "auth/telegram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/encode.h"

#define TOKEN "5768337691:AAH5YkoiEuPk8-FZa32hStHTqXiLPtAEhx8"
#define DATA                                                                                       \
    "query_id=AAHdF6IQAAAAAN0XohDhrOrc&user=%7B%22id%22%3A279058397%2C%22first_name%22%3A%22"      \
    "Vladislav%22%2C%22last_name%22%3A%22Kibenko%22%2C%22username%22%3A%22vdkfrost%22%2C%22"       \
    "language_code%22%3A%22ru%22%2C%22is_premium%22%3Atrue%7D&auth_date=1662771648"
#define HASH "&hash=c501b71e775f74ce10e377dea85a7ea24ecd640b223ea86dfe453e0eaed2e2b2"

#define SIGNED                                                                                     \
    "user=%7B%22id%22%3A5001146408%2C%22first_name%22%3A%22H%22%2C%22last_name%22%3A%22Test%22%2C" \
    "%22language_code%22%3A%22en%22%2C%22allows_write_to_pm%22%3Atrue%2C%22photo_url%22%3A%22"     \
    "https%3A%5C%2F%5C%2Fa-ttgme.stel.com%5C%2Fi%5C%2Fuserpic%5C%2F320%5C%2FOhOF3_"                \
    "f4QY8PWlRZI2aG2sy66VMZw_ys9efvhvle_eCWj2zP8Vbb6pLs5d1Lij1w.svg%22%7D&chat_instance="          \
    "3909909964740758046&chat_type=sender&auth_date=1759930604"
#define SIGNATURE                                                                                  \
    "&signature=i8jsEp2yuO2tlldICxBscMG3xX-zUPznGZVsDNy0tz9GRVx9vxBWjTEt4BSMSa42TaOO0r2yGWBN0a1v"  \
    "9bVRAg"
#define ITS_HASH "&hash=1582635705fd71ffb8bee16062f38965550b5d9a4f85f387b2ea72067c57d45a"

enum { AT = 1662771648, SIGNED_AT = 1759930604 };

static struct telegram_bot bot_of(const char *token, uint64_t id)
{
    struct telegram_bot bot = {.id = id};

    assert_int_equal(telegram_bot_key(&bot, span_str(token)), 0);
    return bot;
}

static int check_at(const char *data, uint64_t now_s)
{
    const struct telegram_bot bot = bot_of(TOKEN, 5768337691);
    uint64_t user = 0;
    const int error = telegram_data_check(&bot, span_str(data), now_s, &user);

    assert_int_equal(user, error == 0 ? 279058397 : 0);
    return error;
}

static void what_telegram_signed_by_the_bots_token_is_good_for_an_hour(void **state)
{
    (void)state;
    assert_int_equal(check_at(DATA HASH, AT), 0);
    assert_int_equal(check_at(DATA HASH, AT + 3600), 0);
    assert_int_equal(check_at(DATA HASH, AT + 3601), E_EXPIRED);
    assert_int_equal(check_at(DATA HASH, AT - 60), 0);
    assert_int_equal(check_at(DATA HASH, AT - 61), E_EXPIRED);
}

static void the_order_of_the_fields_does_not_matter(void **state)
{
    (void)state;
    assert_int_equal(check_at("hash=c501b71e775f74ce10e377dea85a7ea24ecd640b223ea86dfe453e0eaed2e2b"
                              "2&" DATA,
                              AT),
                     0);
}

static void every_changed_byte_is_noticed(void **state)
{
    char data[] = DATA HASH;

    (void)state;
    for (size_t i = 0; i < sizeof(data) - 1; i++) {
        const char was = data[i];
        data[i] = was == 'x' ? 'y' : 'x';
        assert_true(check_at(data, AT) < 0);
        data[i] = was;
    }
    assert_int_equal(check_at(data, AT), 0);
}

static void another_bots_token_does_not_verify_it(void **state)
{
    const struct telegram_bot bot =
        bot_of("5768337692:AAH5YkoiEuPk8-FZa32hStHTqXiLPtAEhx8", 5768337692);
    struct telegram_bot other = {.id = 1};
    uint64_t user;

    (void)state;
    assert_int_equal(telegram_data_check(&bot, SPAN(DATA HASH), AT, &user), E_AUTH);
    assert_int_equal(telegram_bot_key(&other, SPAN(TOKEN)), E_INVALID);
    assert_int_equal(telegram_bot_key(&other, SPAN("1:")), E_INVALID);
    assert_int_equal(telegram_bot_key(&other, SPAN("1")), E_INVALID);
    assert_int_equal(telegram_bot_key(&other, SPAN("")), E_INVALID);
}

static void what_is_no_strict_form_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "&",
        DATA,
        DATA "&hash=",
        DATA "&hash=c501",
        DATA HASH "&",
        "&" DATA HASH,
        DATA "&" HASH,
        DATA HASH "&hash",
        DATA HASH HASH,                      /* twice */
        DATA HASH "&auth_date=1662771648",   /* twice */
        DATA HASH "&%61uth_date=1662771648", /* twice, once in disguise */
        DATA HASH "&a=%",
        DATA HASH "&a=%4",
        DATA HASH "&a=%zz",
        DATA HASH "&a=%00",
        DATA HASH "&a=%0Aauth_date%3D1", /* a line of its own */
        DATA HASH "&a=%FF",              /* not UTF-8 */
        DATA HASH "&a=\xC3\xA9",         /* not encoded */
        DATA HASH "&A=1",
        DATA HASH "&=1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(check_at(bad[i], AT), E_INVALID);
}

static void too_much_is_refused(void **state)
{
    AUTO(buf_fini) struct buf many = {0}, large = {0};

    (void)state;
    buf_append_str(&many, DATA HASH);
    for (int i = 0; i < 40; i++)
        buf_printf(&many, "&f%d=1", i);
    assert_int_equal(check_at(buf_cstr(&many), AT), E_INVALID);
    buf_append_str(&large, DATA HASH "&a=");
    while (large.len <= TELEGRAM_DATA_MAX)
        buf_byte(&large, 'a');
    assert_int_equal(check_at(buf_cstr(&large), AT), E_INVALID);
}

/* Signs `lines` (sorted by hand) as Telegram would, and checks `data` with it. */
static int check_lines(const char *lines, const char *data, uint64_t *user)
{
    const struct telegram_bot bot = bot_of(TOKEN, 5768337691);
    AUTO(buf_fini) struct buf text = {0};
    uint8_t mac[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];

    hmac_sha256(mac, SPAN_OF(bot.data_key), span_str(lines));
    hex_encode(hex, SPAN_OF(mac));
    buf_printf(&text, "%s&hash=%s", data, hex);
    return telegram_data_check(&bot, buf_span(&text), 1000, user);
}

static void without_a_user_or_a_date_it_is_of_no_use(void **state)
{
    uint64_t user;

    (void)state;
    assert_int_equal(check_lines("auth_date=1000\nuser={\"id\":7}",
                                 "user=%7b%22id%22:7%7D&auth_date=1000", &user),
                     0);
    assert_int_equal(user, 7);
    assert_int_equal(check_lines("auth_date=1000", "auth_date=1000", &user), E_INVALID);
    assert_int_equal(check_lines("user={\"id\":7}", "user={\"id\":7}", &user), E_INVALID);
    assert_int_equal(
        check_lines("auth_date=01000\nuser={\"id\":7}", "auth_date=01000&user={\"id\":7}", &user),
        E_INVALID);
    assert_int_equal(
        check_lines("auth_date=1000\nuser={\"id\":0}", "auth_date=1000&user={\"id\":0}", &user),
        E_INVALID);
    assert_int_equal(check_lines("auth_date=1000\nuser={\"id\":7,\"id\":8}",
                                 "auth_date=1000&user={\"id\":7,\"id\":8}", &user),
                     E_INVALID);
}

static void a_plus_is_a_space_and_the_signature_is_under_the_hash(void **state)
{
    uint64_t user;

    (void)state;
    assert_int_equal(check_lines("auth_date=1000\nsignature=x\nstart_param=a b+c\nuser={\"id\":7}",
                                 "start_param=a+b%2Bc&user={\"id\":7}&signature=x&auth_date=1000",
                                 &user),
                     0);
    assert_int_equal(check_lines("auth_date=1000\nstart_param=a\nuser={\"id\":7}",
                                 "start_param=a&user={\"id\":7}&signature=x&auth_date=1000", &user),
                     E_AUTH);
}

static int check_signed(uint64_t bot_id, const char *key_hex, const char *data, uint64_t *user)
{
    AUTO(ed25519_free) struct ed25519 *key = NULL;
    uint8_t raw[ED25519_KEY_LEN];

    assert_int_equal(hex_decode(raw, sizeof(raw), span_str(key_hex)), 0);
    assert_int_equal(ed25519_from_public(&key, SPAN_OF(raw)), 0);
    const struct telegram_bot bot = {.id = bot_id, .telegram = key};
    return telegram_data_check(&bot, span_str(data), SIGNED_AT, user);
}

static void what_telegram_signed_for_third_parties_needs_no_token(void **state)
{
    const char *test_key = "40055058a4ee38156a06562e52eece92a771bcd8346a8c4615cb7376eddf72ec";
    const char *other_key = "e7bf03a2fa4602af4580703d88dda5bb59f32ed8b02a56c187fe7d34caed242d";
    const char *data = SIGNED SIGNATURE ITS_HASH;
    uint64_t user = 0;

    (void)state;
    assert_int_equal(check_signed(2201403107, test_key, data, &user), 0);
    assert_int_equal(user, 5001146408);
    assert_int_equal(check_signed(2201403108, test_key, data, &user), E_AUTH);
    assert_int_equal(check_signed(2201403107, other_key, data, &user), E_AUTH);
    assert_int_equal(check_signed(2201403107, test_key, SIGNED "&a=1" SIGNATURE, &user), E_AUTH);
    assert_int_equal(check_signed(2201403107, test_key, SIGNED ITS_HASH, &user), E_INVALID);
    assert_int_equal(check_signed(2201403107, test_key, SIGNED "&signature=AAAA", &user),
                     E_INVALID);
}

// ---- Tokens -------------------------------------------------------------------------------------

static void a_token_is_read_back_until_it_expires(void **state)
{
    const struct telegram_user made = {.bot = 5768337691, .user = 279058397, .expires_s = 1000};
    AUTO(buf_wipe) struct buf text = {0};
    struct telegram_user read;

    (void)state;
    telegram_token_make(&text, SPAN("secret"), &made);
    assert_true(telegram_token_is(buf_span(&text)));
    assert_false(telegram_token_is(SPAN("sk-cocoon-x")));
    assert_int_equal(telegram_token_read(buf_span(&text), SPAN("secret"), 999, &read), 0);
    assert_true(read.bot == made.bot && read.user == made.user && read.expires_s == 1000);
    assert_int_equal(telegram_token_read(buf_span(&text), SPAN("secret"), 1000, &read), E_EXPIRED);
    assert_int_equal(telegram_token_read(buf_span(&text), SPAN("other"), 999, &read), E_INVALID);
}

static void a_token_of_which_anything_is_changed_is_none(void **state)
{
    const struct telegram_user made = {.bot = 1, .user = 2, .expires_s = 1000};
    AUTO(buf_wipe) struct buf text = {0};
    struct telegram_user read;

    (void)state;
    telegram_token_make(&text, SPAN("secret"), &made);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t was = text.data[i];
        text.data[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(telegram_token_read(buf_span(&text), SPAN("secret"), 0, &read), E_INVALID);
        text.data[i] = was;
    }
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(telegram_token_read(span_of(text.data, len), SPAN("secret"), 0, &read),
                         E_INVALID);
    buf_byte(&text, 'A');
    assert_int_equal(telegram_token_read(buf_span(&text), SPAN("secret"), 0, &read), E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_telegram_signed_by_the_bots_token_is_good_for_an_hour),
        cmocka_unit_test(the_order_of_the_fields_does_not_matter),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(another_bots_token_does_not_verify_it),
        cmocka_unit_test(what_is_no_strict_form_is_refused),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(without_a_user_or_a_date_it_is_of_no_use),
        cmocka_unit_test(a_plus_is_a_space_and_the_signature_is_under_the_hash),
        cmocka_unit_test(what_telegram_signed_for_third_parties_needs_no_token),
        cmocka_unit_test(a_token_is_read_back_until_it_expires),
        cmocka_unit_test(a_token_of_which_anything_is_changed_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
