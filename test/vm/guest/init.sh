#!/bin/busybox sh
# The guest's first process: what a system's start does, as far as the tests need it. Settings come in /settings.
PATH=/bin:/usr/bin
export PATH HOME=/root TERM=${TERM:-linux}
. /settings

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t devpts devpts /dev/pts
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
ip link set lo up 2>/dev/null
for module in /modules/*.ko; do
  insmod "$module" || echo "init: cannot load $module"
done

echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
# 128 MiB, which are 64 of 2 MiB, and at least 8 pages, if those are no more than 512 MiB: 8 of 32 MiB.
size=$(sed -n 's/^Hugepagesize: *\([0-9]*\).*/\1/p' /proc/meminfo)
count=$((131072 / ${size:-2048}))
[ "$count" -ge 8 ] || count=$((524288 / size))
[ "$count" -le 8 ] || [ "$size" -le 16384 ] || count=8
echo "${hugepages:-$count}" >/proc/sys/vm/nr_hugepages
if [ -e /sys/block/zram0 ]; then
  echo "${swap:-256M}" >/sys/block/zram0/disksize
  mkswap /dev/zram0 >/dev/null && swapon /dev/zram0
fi
dmesg -n 4

cd /pagemap-scan
if [ -n "$shell" ]; then
  echo
  echo "Linux $(uname -r). pmscan is the packed package; the tests are in /pagemap-scan/test. Ctrl-D ends the machine."
  setsid -c sh -l
else
  port=
  for name in /sys/class/virtio-ports/*/name; do
    [ "$(cat "$name" 2>/dev/null)" = results ] && port=/dev/$(basename "$(dirname "$name")")
  done
  if [ -n "$port" ]; then
    node /pagemap-scan/agent.mjs "$port" || echo "init: the agent ended with $?"
  else
    echo "init: there is no port for results"
  fi
fi
poweroff -f
