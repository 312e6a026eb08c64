#!/bin/bash
# Runs a command in a bare Debian 12, to see that a newcomer's machine needs nothing that
# ours happens to have. Root only.
#
#   contrib/ci-bare.sh FOLDER [COMMAND…]      default: bash .ci/run
#
# FOLDER gets a minimal system from debootstrap (kept from one run to the next; a copy of it
# is used and thrown away) and in it a clone of what is committed here. The package sources
# of this machine's apt and pip are taken over; nothing else of it is visible but /dev.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:?usage: contrib/ci-bare.sh FOLDER [COMMAND…]}
shift
if [ $# -eq 0 ]; then set -- bash .ci/run; fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [ ! -e "$folder/base.done" ]; then
    mirror=$(find /etc/apt -name '*.sources' -o -name sources.list | xargs cat |
        sed -n 's/^URIs: *//p; s/^deb  *\([^[ ]*\) .*/\1/p' | sed q)
    rm -rf "$folder/base"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/base" "$mirror"
    touch "$folder/base.done"
fi

rm -rf "$folder/root"
cp -a --reflink=auto "$folder/base" "$folder/root"
root=$folder/root
rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
for path in etc/apt/sources.list etc/apt/sources.list.d etc/apt/apt.conf.d etc/apt/trusted.gpg.d \
    etc/apt/auth.conf.d etc/apt/preferences.d etc/ssl/certs etc/pip.conf etc/xdg/pip \
    usr/local/share/ca-certificates etc/resolv.conf etc/hosts; do
    if [ -e "/$path" ]; then
        mkdir -p "$root/$(dirname "$path")"
        cp -aLT --remove-destination "/$path" "$root/$path" 2>/dev/null || true
    fi
done
git clone --quiet --no-local "$here" "$root/src"

# Only what says where packages come from; the rest of the environment is a new user's.
mapfile -t settings < <(env | grep -E '^(PIP_|https?_proxy=|HTTPS?_PROXY=|no_proxy=|NO_PROXY=)' || true)
# Its own mounts and processes: whatever is left running ends with the shell.
exec unshare --mount --pid --fork --kill-child bash -c '
    set -e
    root=$1; shift
    mount --make-rprivate /
    # A mount point, as a root folder is; else nothing in it could have mounts of its own.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmp "$root/run"
    exec chroot "$root" /usr/bin/env -i "$@"
' bare "$root" "${settings[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    bash -c 'cd /src && exec "$@"' newcomer "$@" </dev/null
