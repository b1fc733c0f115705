"""What a shell has to be told once, so that its tab key asks us.

Owns:   a script for each shell.
Never:  writes into anybody's start-up files.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_BASH = r"""# streaming: completion for bash. In ~/.bashrc: eval "$(streaming completion bash)"
_streaming_completion() {
    local IFS=$'\n'
    COMPREPLY=($(STREAMING_COMPLETE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o default -F _streaming_completion streaming
"""

_ZSH = r"""#compdef streaming
# streaming: completion for zsh. In ~/.zshrc, behind compinit: eval "$(streaming completion zsh)"
_streaming_completion() {
    local line
    local -a found shown
    for line in ${(f)"$(STREAMING_COMPLETE=zsh ${words[1]} "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        found+=("${line%%$'\t'*}")
        shown+=("${${line%%$'\t'*}}  ${line#*$'\t'}")
    done
    if (( ${#found} )); then
        compadd -l -d shown -a -- found
    else
        _files
    fi
}
compdef _streaming_completion streaming
"""

_FISH = r"""# streaming: completion for fish. In ~/.config/fish/config.fish: streaming completion fish | source
function __streaming_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    STREAMING_COMPLETE=fish $before[1] $before[2..-1] "$current" 2>/dev/null
end
complete -c streaming -f -a '(__streaming_completion)'
"""

SCRIPTS: Mapping[str, str] = MappingProxyType({"bash": _BASH, "zsh": _ZSH, "fish": _FISH})
