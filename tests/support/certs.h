/* certs.h - a CA of a test's own and what it has signed, as PEM files. */
#pragma once

struct certs {
    char ca[128], cert[128], key[128]; /* paths; cert is for localhost, 127.0.0.1 and ::1 */
};

/* Makes them in dir (P-256, good for a day). What fails ends the program. */
void certs_make(struct certs *c, const char *dir);
