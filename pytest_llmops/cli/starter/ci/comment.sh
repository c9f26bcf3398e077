#!/bin/sh
# Post a Markdown file as the one comment of a pull request, which each push replaces; a marker line finds it again.
# usage: comment.sh FILE KEY     needs curl and jq, and the variables GH_TOKEN, API (https://api.github.com),
# REPO (owner/name) and PR (a number); AUTHOR is who comments, by default GitHub's own account of workflows
set -eu
umask 077
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
marker="<!-- llmops:$2 -->"
printf 'Authorization: Bearer %s\n' "$GH_TOKEN" >"$tmp/token"
call() { curl -sSf --max-time 60 -H "@$tmp/token" -H 'Accept: application/vnd.github+json' "$@"; }

[ -s "$1" ] || echo 'The run wrote no report: see its log.' >"$1"
{ echo "$marker"; cat "$1"; } | jq -Rs '{body: .}' >"$tmp/body"
page=1 id=
while [ -z "$id" ]; do
  call "$API/repos/$REPO/issues/$PR/comments?per_page=100&page=$page" >"$tmp/page"
  id=$(jq -r --arg marker "$marker" --arg author "${AUTHOR:-github-actions[bot]}" \
    'map(select(.user.login == $author and (.body | startswith($marker)))) | first.id // empty' "$tmp/page")
  [ "$(jq length "$tmp/page")" -eq 100 ] || break
  page=$((page + 1))
done
if [ -n "$id" ]; then
  call -X PATCH --data "@$tmp/body" "$API/repos/$REPO/issues/comments/$id" >"$tmp/answer"
else
  call --data "@$tmp/body" "$API/repos/$REPO/issues/$PR/comments" >"$tmp/answer"
fi
