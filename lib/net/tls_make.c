/* Makes keys and certificates: the worker's own, fresh at each start, and an operator's CA with its
 * tunnel certificate. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "net/tls.h"
#include "net/tls_impl.h"

enum { SELF_SIGNED_DAYS = 3650, SERIAL_LEN = 16 };

int tls_spki_hash(X509 *cert, uint8_t out[static TLS_SPKI_LEN])
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    unsigned hash_len = 0;

    if (len <= 0)
        return E_INVALID;
    int ok = EVP_Digest(der, (size_t)len, out, &hash_len, EVP_sha256(), NULL);
    OPENSSL_free(der);
    return ok == 1 && hash_len == TLS_SPKI_LEN ? 0 : E_CRYPTO;
}

int tls_pem_spki(const char *file, uint8_t out[static TLS_SPKI_LEN])
{
    AUTO(BIO_free_all) BIO *in = BIO_new_file(file, "r");
    AUTO(X509_free) X509 *cert = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

    if (!in || !cert) {
        ERR_clear_error();
        return in ? E_INVALID : E_IO;
    }
    return tls_spki_hash(cert, out);
}

/* ---- Certificates ---- */

struct cert_form {
    const char *name;
    unsigned days;
    const char *const (*extensions)[2]; /* name and value, ended by NULL; NULL: none */
};

static int cert_extend(X509 *cert, X509 *issuer, const char *name, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_nconf(NULL, &ctx, name, value);
    int ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok ? 0 : E_CRYPTO;
}

static int cert_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_LEN];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return E_CRYPTO;
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and of full length */
    BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
    BN_free(n);
    return ok ? 0 : E_CRYPTO;
}

/* issuer NULL: signs itself with issuer_key, which is then its own. */
static int cert_make(X509 **out, const struct cert_form *form, EVP_PKEY *key, X509 *issuer,
                     EVP_PKEY *issuer_key)
{
    AUTO(X509_free) X509 *cert = X509_new();
    const uint8_t *name = (const uint8_t *)form->name;

    CHECK(cert);
    TRY(cert_serial(cert));
    X509_NAME *subject = X509_get_subject_name(cert);
    if (X509_set_version(cert, X509_VERSION_3) != 1 || X509_set_pubkey(cert, key) != 1 ||
        !X509_gmtime_adj(X509_getm_notBefore(cert), -3600) ||
        !X509_time_adj_ex(X509_getm_notAfter(cert), (int)form->days, 0, NULL) ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, name, -1, -1, 0) != 1 ||
        X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject) != 1)
        return E_CRYPTO;
    for (size_t i = 0; form->extensions && form->extensions[i][0]; i++)
        TRY(cert_extend(cert, issuer ? issuer : cert, form->extensions[i][0],
                        form->extensions[i][1]));
    if (X509_sign(cert, issuer_key, EVP_sha256()) <= 0)
        return E_CRYPTO;
    *out = cert;
    cert = NULL;
    return 0;
}

int tls_self_signed(EVP_PKEY **key, X509 **cert)
{
    static const struct cert_form form = {.name = "cocoon worker", .days = SELF_SIGNED_DAYS};

    *key = EVP_EC_gen("P-256");
    return *key ? cert_make(cert, &form, *key, NULL, *key) : E_CRYPTO;
}

/* ---- An operator's files ---- */

static const char *const ca_extensions[][2] = {
    {"basicConstraints", "critical,CA:TRUE,pathlen:0"},
    {"keyUsage", "critical,keyCertSign,cRLSign"},
    {"subjectKeyIdentifier", "hash"},
    {NULL, NULL},
};

static const char *const leaf_extensions[][2] = {
    {"basicConstraints", "critical,CA:FALSE"}, {"keyUsage", "critical,digitalSignature"},
    {"extendedKeyUsage", "serverAuth"},        {"subjectKeyIdentifier", "hash"},
    {"authorityKeyIdentifier", "keyid"},       {NULL, NULL},
};

/* Opens dir/name for writing; it must not exist. */
static int file_create(const char *dir, const char *name, mode_t mode, FILE **out)
{
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
        return E_TOO_LARGE;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return errno == EEXIST ? E_EXISTS : E_IO;
    *out = fdopen(fd, "w");
    CHECK(*out);
    return 0;
}

static int file_close(FILE *f, bool written)
{
    bool flushed = fflush(f) == 0 && fsync(fileno(f)) == 0;

    return fclose(f) == 0 && flushed && written ? 0 : E_IO;
}

static int key_write(const char *dir, const char *name, EVP_PKEY *key)
{
    FILE *f;

    TRY(file_create(dir, name, 0600, &f));
    return file_close(f, PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1);
}

static int certs_write(const char *dir, const char *name, X509 *first, X509 *second)
{
    FILE *f;

    TRY(file_create(dir, name, 0644, &f));
    bool ok = PEM_write_X509(f, first) == 1 && (!second || PEM_write_X509(f, second) == 1);
    return file_close(f, ok);
}

/* All or nothing where that is cheap: one name that is taken refuses the lot before anything is
 * written. */
static int files_absent(const char *dir)
{
    static const char *const names[] = {"ca.key", "ca.pem", "tunnel.key", "tunnel.pem"};
    char path[PATH_MAX];
    struct stat st;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, names[i]) >= sizeof(path))
            return E_TOO_LARGE;
        if (lstat(path, &st) == 0)
            return E_EXISTS;
    }
    return 0;
}

int tls_operator_make(const char *dir, unsigned days, uint8_t ca_spki[static TLS_SPKI_LEN])
{
    AUTO(EVP_PKEY_free) EVP_PKEY *ca_key = EVP_EC_gen("P-256");
    AUTO(EVP_PKEY_free) EVP_PKEY *leaf_key = EVP_EC_gen("P-256");
    AUTO(X509_free) X509 *ca = NULL;
    AUTO(X509_free) X509 *leaf = NULL;
    struct cert_form ca_form = {"cocoon operator CA", days, ca_extensions};
    struct cert_form leaf_form = {"cocoon tunnel", days, leaf_extensions};

    if (days < 1 || days > 36500)
        return E_INVALID;
    if (!ca_key || !leaf_key)
        return E_CRYPTO;
    TRY(files_absent(dir));
    TRY(cert_make(&ca, &ca_form, ca_key, NULL, ca_key));
    TRY(cert_make(&leaf, &leaf_form, leaf_key, ca, ca_key));
    TRY(key_write(dir, "ca.key", ca_key));
    TRY(certs_write(dir, "ca.pem", ca, NULL));
    TRY(key_write(dir, "tunnel.key", leaf_key));
    TRY(certs_write(dir, "tunnel.pem", leaf, ca));
    return tls_spki_hash(ca, ca_spki);
}
