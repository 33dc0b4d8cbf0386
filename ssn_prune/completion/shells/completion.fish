# ssn-prune: completion for fish.
# ssn-prune completion fish > ~/.config/fish/completions/ssn-prune.fish

function __ssn_prune_complete
    set -l program (commandline -opc)[1]
    set -l answer ($program __complete (commandline -cp | string collect) 2>/dev/null)
    if test "$answer[1]" = files
        set -l current (commandline -ct)
        set -l before (string match -r -- '^--[a-z-]+=' $current)
        for path in (__fish_complete_path (string replace -r -- '^--[a-z-]+=' '' $current))
            echo "$before$path"
        end
    else
        printf '%s\n' $answer[2..-1]
    end
end
complete -c ssn-prune -f -a '(__ssn_prune_complete)'
