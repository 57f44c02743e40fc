/** The shells' parts of completion: each hands the words before the cursor to `pmscan completion SHELL -- WORDS` and takes its answers. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const BASH = `# pmscan in bash:  source <(pmscan completion bash)
_pmscan() {
  mapfile -t COMPREPLY < <("$1" completion bash -- "\${COMP_LINE:0:COMP_POINT}" "\${COMP_WORDS[COMP_CWORD]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _pmscan pmscan
`;

const ZSH = `#compdef pmscan
# pmscan in zsh:  source <(pmscan completion zsh), or as a file _pmscan in a folder of $fpath
_pmscan() {
  local -a values lines
  local value about
  while IFS=$'\\t' read -r value about; do
    values+=("$value")
    lines+=("$value\${about:+  -- $about}")
  done < <("\${words[1]}" completion zsh -- "\${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
  if (( $#values )); then
    compadd -l -d lines -a values
  else
    _files
  fi
}
if [[ $funcstack[1] == _pmscan ]]; then
  _pmscan "$@"
else
  compdef _pmscan pmscan
fi
`;

const FISH = `# pmscan in fish:  pmscan completion fish | source
function __pmscan_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] completion fish -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c pmscan -f -a '(__pmscan_complete)'
`;

export const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
