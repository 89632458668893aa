/* help.c - the same rows, printed in four ways. */
#include "ops/help.h"
#include "base/program.h"
#include "ops/verb.h"
#include <stdio.h>
#include <string.h>

static bool wanted(const struct verb *v, const char *noun, const char *verb)
{
    size_t n = noun ? strlen(noun) : 0;

    if (!noun)
        return true;
    if (strncmp(v->name, noun, n) != 0 || (v->name[n] != ' ' && v->name[n] != 0))
        return false;
    return !verb || (v->name[n] == ' ' && strcmp(v->name + n + 1, verb) == 0);
}

static void print_options(const struct verb *v)
{
    for (const char *p = v->options; *p;) {
        size_t n = strcspn(p, " ");
        bool value = n > 0 && p[n - 1] == '=';
        printf(" [--%.*s%s]", (int)(n - value), p, value ? " VALUE" : "");
        p += n;
        p += *p == ' ';
    }
}

int help_print(const char *noun, const char *verb)
{
    int found = 0;

    if (!noun)
        printf("mihwar - see and mend what Mihwar does\n\n"
               "usage: mihwar [--json] [--config FILE] VERB [ARGUMENTS] [--OPTION VALUE]...\n\n");
    for (size_t i = 0; i < verb_count; i++) {
        if (!wanted(&verbs[i], noun, verb))
            continue;
        found++;
        if (!noun) {
            printf("  %-18s %s\n", verbs[i].name, verbs[i].help);
            continue;
        }
        printf("mihwar %s %s", verbs[i].name, verbs[i].args);
        print_options(&verbs[i]);
        printf("\n    %s\n", verbs[i].help);
    }
    if (!found)
        return help_usage(noun);
    if (!noun)
        printf("\n'mihwar help VERB' says more. Settings come from --config FILE, MIHWAR_CONFIG or "
               "MIHWAR_… variables.\n"
               "Exit status: 0 done, 1 refused or failed, 2 usage. 'mihwar completion "
               "bash|zsh|man'.\n");
    return 0;
}

int help_usage(const char *word)
{
    fprintf(stderr, "mihwar: there is no '%s'; try 'mihwar help'\n", word);
    return 2;
}

static void print_words(void)
{
    const char *last = "";

    for (size_t i = 0; i < verb_count; i++) {
        size_t n = strcspn(verbs[i].name, " ");
        if (strncmp(verbs[i].name, last, n) != 0 || last[n] != verbs[i].name[n])
            printf("%.*s ", (int)n, verbs[i].name);
        last = verbs[i].name;
    }
    printf("help completion");
}

static void print_cases(const char *indent)
{
    for (size_t i = 0; i < verb_count;) {
        size_t n = strcspn(verbs[i].name, " "), k = i;
        printf("%s%.*s) words=\"", indent, (int)n, verbs[i].name);
        for (; k < verb_count && strncmp(verbs[k].name, verbs[i].name, n) == 0 &&
               verbs[k].name[n] == ' ';
             k++)
            printf("%s%s", k > i ? " " : "", verbs[k].name + n + 1);
        printf("\";;\n");
        i = k > i ? k : i + 1;
    }
}

static void print_option_cases(const char *indent)
{
    for (size_t i = 0; i < verb_count; i++) {
        printf("%s\"%s\"*) words=\"--json", indent, verbs[i].name);
        for (const char *p = verbs[i].options; *p;) {
            size_t n = strcspn(p, " ");
            printf(" --%.*s", (int)(n - (n > 0 && p[n - 1] == '=')), p);
            p += n;
            p += *p == ' ';
        }
        printf("\";;\n");
    }
}

static void print_man(void)
{
    printf(".TH MIHWAR 1 \"\" \"mihwar %s\"\n.SH NAME\nmihwar \\- see and mend what Mihwar does\n"
           ".SH SYNOPSIS\n.B mihwar\n[\\-\\-json] [\\-\\-config FILE] VERB [ARGUMENTS] "
           "[\\-\\-OPTION VALUE]...\n"
           ".SH VERBS\n",
           program_version());
    for (size_t i = 0; i < verb_count; i++) {
        printf(".TP\n.B %s\n%s", verbs[i].name, verbs[i].args);
        print_options(&verbs[i]);
        printf("\n.br\n%s\n", verbs[i].help);
    }
    printf(".SH EXIT STATUS\n0 done, 1 refused or failed, 2 usage.\n"
           ".SH ENVIRONMENT\nMIHWAR_CONFIG names the settings file; each setting is also "
           "MIHWAR_NAME.\n");
}

int help_completion(const char *shell)
{
    if (shell && strcmp(shell, "man") == 0) {
        print_man();
        return 0;
    }
    if (!shell || (strcmp(shell, "bash") != 0 && strcmp(shell, "zsh") != 0)) {
        fprintf(stderr, "usage: mihwar completion bash|zsh|man\n");
        return 2;
    }
    if (strcmp(shell, "zsh") == 0)
        printf("autoload -U +X bashcompinit && bashcompinit\n");
    printf("_mihwar() {\n"
           "    local words=\"\" cur=\"${COMP_WORDS[COMP_CWORD]}\" line=\"${COMP_WORDS[*]:1}\"\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then words=\"");
    print_words();
    printf("\"\n    elif [ \"$COMP_CWORD\" = 2 ]; then case \"${COMP_WORDS[1]}\" in\n");
    print_cases("        ");
    printf("        esac\n    else case \"$line\" in\n");
    print_option_cases("        ");
    printf("        esac\n    fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
           "complete -F _mihwar mihwar\n");
    return 0;
}
