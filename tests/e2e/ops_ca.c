/* ops_ca.c - a certificate authority from nothing: made, issuing, revoking; no store is asked. */
#include "tests/e2e/ops_world.h"
#include <sys/stat.h>

static char ca_dir[256];

#define CA(...) CLI(&h, "ca", __VA_ARGS__, "--dir", ca_dir)

static void there(const char *path, mode_t mode)
{
    struct stat st;

    ck_assert_msg(stat(path, &st) == 0 && (st.st_mode & 07777) == mode, "%s", path);
}

START_TEST(a_ca)
{
    _cleanup_(freep) char *other = xasprintf("%s/ca-other", support_dir());

    snprintf(ca_dir, sizeof ca_dir, "%s/ca", support_dir());
    refused(CA("ls"), 1, "make one with 'mihwar ca init'");
    refused(CA("init", "--days", "0"), 2, "--days must be a whole number from 1 to 36500");
    AUTO(made) = CA("init", "Cedar CA", "--json");
    cli_fields(made.json, "name:s serial:s not_after:s certificate:s crl:s");
    ck_assert_str_eq(cli_text(&made, "name"), "Cedar CA");
    there(cli_text(&made, "certificate"), 0644);
    there(cli_text(&made, "crl"), 0644);
    there(ca_dir, 0700);
    refused(CA("init"), 1, "there is a CA in ");
    done(CLI(&h, "ca", "init", "--dir", other));
    AUTO(none) = CA("ls", "--json");
    ck_assert_str_eq(none.out, "[]\n");
}
END_TEST

START_TEST(certificates)
{
    AUTO(hub) = CA("issue", "hub", "--kind", "server", "--dns", "localhost,hub.example", "--ip",
                   "127.0.0.1", "--days", "90", "--json");
    cli_fields(hub.json, "name:s kind:s names:s serial:s not_after:s certificate:s key:s");
    ck_assert_str_eq(cli_text(&hub, "names"), "DNS:localhost,DNS:hub.example,IP:127.0.0.1");
    there(cli_text(&hub, "certificate"), 0644);
    there(cli_text(&hub, "key"), 0600);
    done(CA("issue", "shop-1", "--uri", "urn:shop:1"));
    done(CA("issue", "cpe-1", "--kind", "agent"));
    refused(CA("issue", "cpe-1", "--kind", "agent"), 1, "'cpe-1' has a certificate that is good");
    refused(CA("issue", "x", "--kind", "king"), 2, "--kind is client, agent or server");
    refused(CA("issue", "hub-2", "--kind", "server"), 2, "a server needs a DNS name or an address");
    refused(CA("issue", "../x"), 2, "a certificate's name has 1 to 64 letters");
    refused(CA("issue", "x", "--days", "3651"), 1, "the CA itself ends at ");
    refused(CA("issue"), 2, "usage: mihwar ca issue NAME");
}
END_TEST

START_TEST(a_certificate_is_revoked)
{
    AUTO(gone) = CA("revoke", "shop-1", "--json");
    cli_fields(gone.json, "name:s serial:s revoked_at:s crl:s next_update:s");
    done(CA("revoke", cli_text(&gone, "serial")));
    refused(CA("revoke", "nobody"), 1, "has issued nothing called 'nobody'");
    done(CLI_WITH(&h, .expect = "ca_ls", "ca", "ls", "--dir", ca_dir));
    AUTO(all) = CA("ls", "--json");
    cli_fields(all.json, "name:s kind:s names:s state:s not_after:s revoked_at:s? serial:s "
                         "issued_at:s");
    done(CA("crl"));
    AUTO(list) = CA("crl", "--days", "7", "--json");
    cli_fields(list.json, "crl:s revoked:n next_update:s");
    ck_assert_int_eq(cJSON_GetObjectItem(list.json, "revoked")->valueint, 1);
}
END_TEST

size_t ca_tests(struct e2e_row *rows)
{
    const struct e2e_row own[] = {
        {"a CA", a_ca},
        {"certificates", certificates},
        {"a certificate is revoked", a_certificate_is_revoked},
    };

    memcpy(rows, own, sizeof own);
    return COUNT(own);
}
