"""Shell completion scripts for modes, flags and job names.

They are generated from the same tables as ``--help``.  Job names come from
``-m completion jobs``, which reads the state folder.  To add a shell, write a function
like these two and give it a row in SCRIPTS.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from lib.cli.arguments import Flag, Mode, flags_of
from lib.core.announcements import Level
from lib.core.enums import JobFrequency

_BASH = """\
# bash completion of checker.py: its modes, its flags, the names of your jobs.
# Made by: checker.py -m completion bash

_checker() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local program=${COMP_WORDS[0]/#\\~/$HOME} mode='' words='' quote='' name i
    local -a where=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD - 1; i++)); do
        case ${COMP_WORDS[i]} in
            -m) mode=${COMP_WORDS[i + 1]} ;;
            -f | --jobs | --state)
                where+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]/#\\~/$HOME}") ;;
        esac
    done
    case $before in
        -m) words='@MODES@' ;;
        -c) words='@FREQUENCIES@' ;;
        --level) words='@LEVELS@' ;;
        -f | --jobs | --state) compopt -o default 2>/dev/null; return ;;
        @TEXTS@) return ;;
        *)
            case $word:$mode in
                -*) words='@FLAGS@' ;;
                *:) words='-m' ;;
@CHOICES@
            esac ;;
    esac
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        return
    fi
    case $mode in
        @TAKES_JOBS@) ;;
        *) return ;;
    esac
    case $word in
        [\\'\\"]*) quote=${word:0:1}; word=${word:1} ;;
        *) word=${word//\\\\/} ;;
    esac
    while IFS= read -r name; do
        [[ $name == "$word"* ]] || continue
        if [ -z "$quote" ]; then
            name=$(printf %q "$name")
            # At these the shell would begin a new word.
            name=${name//:/\\\\:} name=${name//=/\\\\=}
        fi
        COMPREPLY+=("$name")
    done < <("$program" -m completion jobs ${where[@]+"${where[@]}"} 2>/dev/null)
}
complete -F _checker checker.py
"""

_ZSH = """\
#compdef checker.py
# zsh completion of checker.py: its modes, its flags, the names of your jobs.
# Made by: checker.py -m completion zsh

_checker() {
    local curcontext=$curcontext state line i
    local -a modes names where
    typeset -A opt_args
    modes=(
@MODES@
    )
    _arguments -C \\
@FLAGS@
        '*:word:->words'
    case $state in
        modes) _describe mode modes ;;
        words)
            case ${opt_args[-m]} in
                @TAKES_JOBS@)
                    for ((i = 2; i < CURRENT; i++)); do
                        case ${words[i]} in
                            -f | --jobs | --state)
                                where+=(${words[i]} ${${(Q)words[i + 1]}/#\\~/$HOME}) ;;
                        esac
                    done
                    names=(${(f)"$(${${(Q)words[1]}/#\\~/$HOME} -m completion jobs \\
                        $where 2>/dev/null)"})
                    compadd -a names ;;
@CHOICES@
            esac ;;
    esac
}

if [[ ${funcstack[1]} == _checker ]]; then
    _checker "$@"
else
    compdef _checker checker.py
fi
"""


def bash_script(modes: Mapping[str, Mode]) -> str:
    """Return the script for bash."""
    choices = [
        f"                *:{name}) words='{' '.join(mode.choices)}' ;;"
        for name, mode in modes.items()
        if mode.choices
    ]
    return _filled(
        _BASH,
        MODES=" ".join(modes),
        FREQUENCIES=" ".join(JobFrequency),
        LEVELS=" ".join(Level),
        FLAGS=" ".join(name for flag in flags_of(modes) for name in flag.names),
        CHOICES="\n".join(choices),
        TAKES_JOBS=_that_take_jobs(modes),
        TEXTS=" | ".join(
            name
            for flag in flags_of(modes)
            for name in flag.names
            if flag.value and flag.value not in _VALUES
        ),
    )


def zsh_script(modes: Mapping[str, Mode]) -> str:
    """Return the script for zsh."""
    choices = [
        f"                {name}) compadd {' '.join(mode.choices)} ;;"
        for name, mode in modes.items()
        if mode.choices
    ]
    flags = [
        f"        {shlex.quote(_zsh_spec(name, flag))} \\"
        for flag in flags_of(modes)
        for name in flag.names
    ]
    return _filled(
        _ZSH,
        MODES="\n".join(
            f"        {shlex.quote(f'{name}:{mode.what}')}"
            for name, mode in modes.items()
        ),
        FLAGS="\n".join(flags),
        CHOICES="\n".join(choices),
        TAKES_JOBS=_that_take_jobs(modes),
    )


#: How zsh completes the values of flags.
_VALUES = {
    "MODE": "->modes",
    "FREQUENCY": "({})",
    "LEVEL": "({})",
    "FILE": "_files",
    "DIR": "_files -/",
}


def _zsh_spec(name: str, flag: Flag) -> str:
    """Return a flag as _arguments of zsh takes it."""
    what = flag.what.replace("[", r"\[").replace("]", r"\]")
    if set(flag.names) & {"-h", "--version"}:
        return f"(- *){name}[{what}]"
    # What is not in the table is a text of one's own.
    completed = _VALUES.get(flag.value, "").format(" ".join(flag.choices))
    value = f":{flag.value.lower()}:{completed}" if flag.value else ""
    return f"{'*' if flag.repeats else ''}{name}[{what}]{value}"


def _that_take_jobs(modes: Mapping[str, Mode]) -> str:
    return " | ".join(name for name, mode in modes.items() if mode.takes_jobs)


def _filled(text: str, **parts: str) -> str:
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


SCRIPTS: Mapping[str, Callable[[Mapping[str, Mode]], str]] = {
    "bash": bash_script,
    "zsh": zsh_script,
}
