/* help.c - the same rows, printed in four ways: help, bash, zsh, roff. */
#include "ops/help.h"
#include "base/program.h"
#include "base/text.h"
#include "ops/words.h"
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ walking the rows */

static size_t noun_len(const struct verb *v)
{
    return strcspn(v->name, " ");
}

/* Is v `words` ("order resolve"), or one of those of the noun `words` ("order")? */
static bool wanted(const struct verb *v, const char *words)
{
    size_t n = strlen(words);

    return n == 0 || (starts_with(v->name, words) && (v->name[n] == ' ' || v->name[n] == 0));
}

static bool new_noun(size_t i)
{
    return i == 0 || noun_len(&verbs[i]) != noun_len(&verbs[i - 1]) ||
           strncmp(verbs[i].name, verbs[i - 1].name, noun_len(&verbs[i])) != 0;
}

/* How much of a row's name its first n words are. */
static size_t words_len(const struct verb *v, int n)
{
    size_t len = 0;

    for (int i = 0; i < n && v->name[len]; i++) {
        len += v->name[len] == ' ';
        len += strcspn(v->name + len, " ");
    }
    return len;
}

/* Do two rows begin with the same n words? */
static bool same_words(size_t a, size_t b, int n)
{
    size_t len = words_len(&verbs[a], n);

    return len == words_len(&verbs[b], n) && strncmp(verbs[a].name, verbs[b].name, len) == 0;
}

/* The next option of a row's "as= note= yes"; NULL at the end. */
static const struct option_row *next_option(const char **p)
{
    static const struct option_row unknown = {"?", "VALUE", "?"};
    size_t n = strcspn(*p, " ");
    const struct option_row *row;

    if (n == 0)
        return NULL;
    row = option_row(*p, n - ((*p)[n - 1] == '='));
    *p += n;
    *p += **p == ' ';
    return row ? row : &unknown;
}

/* ------------------------------------------------------------------ help */

static void print_usage(const struct verb *v)
{
    const char *p = v->options;
    const struct option_row *o;

    printf("mihwar %s%s%s", v->name, *v->args ? " " : "", v->args);
    while ((o = next_option(&p)))
        printf(" [--%s%s%s]", o->name, *o->value ? " " : "", o->value);
    printf("\n    %s\n", v->help);
}

static void print_options(const struct verb *v)
{
    const char *p = v->options;
    const struct option_row *o;

    printf("\n");
    while ((o = next_option(&p))) {
        int n = printf("    --%s %s", o->name, o->value);
        printf("%*s  %s\n", n < 26 ? 26 - n : 0, "", o->help);
    }
    printf("    %-22s  an answer for programs\n", "--json");
    if (v->needs & CHANGES)
        printf("\nIt leaves a line in the audit log ('mihwar audit ls').\n");
}

static void print_all(void)
{
    printf("mihwar - see and mend what Mihwar does\n\n"
           "usage: mihwar [--json] [--config FILE] VERB [ARGUMENTS] [--OPTION VALUE]...\n\n");
    for (size_t i = 0; i < verb_count; i++)
        printf("  %-18s %s\n", verbs[i].name, verbs[i].help);
    printf("  %-18s %s\n", "help", "all verbs, those of a noun, or one with its options");
    printf("  %-18s %s\n", "completion", "bash, zsh: a script to source; man: the manual page");
    printf("\n'mihwar help VERB' says more. Settings come from --config FILE, MIHWAR_CONFIG or "
           "MIHWAR_… variables.\nAnswers go to stdout, the rest to stderr. Exit status: 0 done, "
           "1 refused or failed, 2 usage or settings.\n");
}

int help_print(int argc, char *const *argv)
{
    char words[96];
    size_t found = 0, last = 0;

    if (argc == 0) {
        print_all();
        return 0;
    }
    words_join(MIN(argc, VERB_WORDS), argv, words, sizeof words);
    for (size_t i = 0; i < verb_count; i++) {
        if (!wanted(&verbs[i], words))
            continue;
        print_usage(&verbs[i]);
        found++;
        last = i;
    }
    if (found == 1)
        print_options(&verbs[last]);
    return found ? 0 : help_unknown(argc, argv);
}

int help_unknown(int argc, char *const *argv)
{
    const char *noun = argv[0], *verb = argc > 1 && !starts_with(argv[1], "-") ? argv[1] : NULL;
    bool listed = false;

    for (size_t i = 0; i < verb_count; i++) {
        if (noun_len(&verbs[i]) != strlen(noun) || !starts_with(verbs[i].name, noun))
            continue;
        if (!listed && verb)
            fprintf(stderr, "mihwar: there is no '%s %s'; there is", noun, verb);
        else if (!listed)
            fprintf(stderr, "mihwar: say what to do:");
        fprintf(stderr, "%s %s", listed ? "," : "", verbs[i].name);
        listed = true;
    }
    if (listed)
        fprintf(stderr, "\n");
    else
        fprintf(stderr, "mihwar: there is no '%s'; try 'mihwar help'\n", noun);
    return 2;
}

/* ------------------------------------------------------------------ completion */

static void print_nouns(void)
{
    for (size_t i = 0; i < verb_count; i++) {
        if (new_noun(i))
            printf("%.*s ", (int)noun_len(&verbs[i]), verbs[i].name);
    }
}

/* What may follow the first `depth` words of rows [i, end), each once, as a case of its own; then the same
 * for those that have a further word ("agent token"). prefix: "" or "help ". */
static void print_cases(const char *prefix, size_t i, size_t end, int depth)
{
    size_t n = words_len(&verbs[i], depth);

    if (!verbs[i].name[n])
        return;
    printf("    \"%s%.*s\") words=\"", prefix, (int)n, verbs[i].name);
    for (size_t k = i; k < end; k++) {
        if (k == i || !same_words(k, k - 1, depth + 1))
            printf("%s%.*s", k > i ? " " : "", (int)(words_len(&verbs[k], depth + 1) - n - 1),
                   verbs[k].name + n + 1);
    }
    printf("\" ;;\n");
    for (size_t k = i, next; k < end; k = next) {
        for (next = k + 1; next < end && same_words(next, k, depth + 1);)
            next++;
        print_cases(prefix, k, next, depth + 1);
    }
}

static void print_noun_cases(const char *prefix)
{
    for (size_t i = 0, end; i < verb_count; i = end) {
        for (end = i + 1; end < verb_count && !new_noun(end);)
            end++;
        print_cases(prefix, i, end, 1);
    }
}

static void print_option_cases(void)
{
    for (size_t i = 0; i < verb_count; i++) {
        const char *p = verbs[i].options;
        const struct option_row *o;
        printf("    \"%s\" | \"%s \"*) words=\"--json --help", verbs[i].name, verbs[i].name);
        while ((o = next_option(&p)))
            printf(" --%s", o->name);
        printf("\" ;;\n");
    }
}

static void print_completion(bool zsh)
{
    if (zsh)
        printf("autoload -U +X bashcompinit && bashcompinit\n");
    printf("_mihwar() {\n"
           "    local cur=\"${COMP_WORDS[COMP_CWORD]}\" words=\"\" verb=\"\" i\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        case \"${COMP_WORDS[i]}\" in\n"
           "        --config) ((i++)) ;;\n"
           "        -*) ;;\n"
           "        *) verb=\"${verb:+$verb }${COMP_WORDS[i]}\" ;;\n"
           "        esac\n"
           "    done\n"
           "    case \"$verb\" in\n"
           "    \"\") words=\"");
    print_nouns();
    printf("help completion --json --config --help --version\" ;;\n    \"help\") words=\"");
    print_nouns();
    printf("\" ;;\n    \"completion\") words=\"bash zsh man\" ;;\n");
    print_noun_cases("");
    print_noun_cases("help ");
    print_option_cases();
    printf("    esac\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "}\n"
           "complete -o default -F _mihwar mihwar\n");
}

/* ------------------------------------------------------------------ the manual page */

/* Text for roff: a hyphen that can be copied, no escape and no request by accident. */
static void roff(const char *s)
{
    if (*s == '.' || *s == '\'')
        fputs("\\&", stdout);
    for (; *s; s++) {
        if (*s == '-')
            fputs("\\-", stdout);
        else if (*s == '\\')
            fputs("\\e", stdout);
        else
            putchar(*s);
    }
}

static void man_verb(const struct verb *v)
{
    const char *p = v->options;
    const struct option_row *o;

    printf(".TP\n.B ");
    roff(v->name);
    printf("\n");
    roff(v->args);
    for (bool first = !*v->args; (o = next_option(&p)); first = false) {
        printf("%s[\\-\\-", first ? "" : " ");
        roff(o->name);
        printf("%s%s]", *o->value ? " " : "", o->value);
    }
    printf("%s", *v->args || *v->options ? "\n.br\n" : "");
    roff(v->help);
    printf("%s\n", v->needs & CHANGES ? " (audited)" : "");
}

static void print_man(void)
{
    printf(".TH MIHWAR 1 \"\" \"mihwar %s\" \"Mihwar\"\n"
           ".SH NAME\nmihwar \\- see and mend what Mihwar does\n"
           ".SH SYNOPSIS\n.B mihwar\n[\\-\\-json] [\\-\\-config FILE] VERB [ARGUMENTS] "
           "[\\-\\-OPTION VALUE]...\n"
           ".SH DESCRIPTION\nThe operators' command line of the job platform Mihwar. It speaks to "
           "PostgreSQL and Redis itself, so it works while no hub, worker or beat runs. Answers go "
           "to stdout, as tables or with \\-\\-json for programs; everything else goes to stderr. "
           "Verbs marked \"audited\" leave a line in the audit log.\n"
           ".SH VERBS\n",
           program_version());
    for (size_t i = 0; i < verb_count; i++)
        man_verb(&verbs[i]);
    printf(".TP\n.B help\n[VERB]\n.br\nall verbs, those of a noun, or one with its options\n"
           ".TP\n.B completion\nbash|zsh|man\n.br\na script to source, or this page\n"
           ".SH OPTIONS\nOptions are written \\-\\-name value or \\-\\-name=value; after \\-\\- "
           "everything is an argument.\n");
    for (size_t i = 0; i < option_count; i++) {
        printf(".TP\n.B \\-\\-");
        roff(option_rows[i].name);
        printf(" %s\n", option_rows[i].value);
        roff(option_rows[i].help);
        printf("\n");
    }
    printf(".SH EXIT STATUS\n0 done, 1 refused or failed, 2 usage or settings.\n"
           ".SH ENVIRONMENT\nMIHWAR_CONFIG names the settings file; each setting is also "
           "MIHWAR_NAME, which wins over the file: MIHWAR_DATABASE_URL, MIHWAR_REDIS_URL, "
           "MIHWAR_SEAL_KEYS.\n"
           ".SH EXAMPLES\n.nf\nmihwar order ls \\-\\-status review\n"
           "mihwar order resolve 0197c2a4\\-… \\-\\-as failed \\-\\-note \"not in their panel\"\n"
           "mihwar dlq replay \\-\\-error 5f2c9a \\-\\-rate 10\n"
           "mihwar provider pause znet \\-\\-for 30m\n.fi\n");
}

int help_completion(const char *what)
{
    if (str_eq(what, "man")) {
        print_man();
    } else if (str_eq(what, "bash") || str_eq(what, "zsh")) {
        print_completion(str_eq(what, "zsh"));
    } else {
        fprintf(stderr, "usage: mihwar completion bash|zsh|man\n");
        return 2;
    }
    return 0;
}
