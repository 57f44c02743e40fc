for f in "" "--no-opt" "--jitless" "--sparkplug --no-opt --no-maglev" "--single-threaded"; do
  echo "flags: $f"; node $f scripts/replay.mjs scripts/tmp-a.jsonl scripts/tmp-b.jsonl; done
