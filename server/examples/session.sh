#!/usr/bin/env bash
# From an empty server to a second batch of patches, with nothing but curl and the API.
#
#   nnactive serve --data my-server &            # prints the address and the administrator's token
#   server/examples/session.sh http://127.0.0.1:8000 "$(cat my-server/token)" Dataset004_Hippocampus
#
# The data set must be labelled: its labels play the radiologist. LIMIT images are used (default 12).
set -euo pipefail
url=$1 token=$2 data=$3 limit=${LIMIT:-12} python=${PYTHON:-python3}

api() { # METHOD PATH [curl's options]
    curl --silent --show-error --fail-with-body --request "$1" "$url/v1$2" \
        --header "Authorization: Bearer $token" "${@:3}"
}
post() { # PATH JSON: a change that happens once, however often the network makes us repeat it
    api POST "$1" --header "Content-Type: application/json" --header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" \
        --data "$2"
}
get() { "$python" -c 'import json, sys; print(eval("d" + sys.argv[1], {"d": json.load(sys.stdin)}))' "$1"; }

echo "1. a project"
labels=$("$python" - "$data/dataset.json" <<'PY'
import json, sys
labels = json.load(open(sys.argv[1]))["labels"]
names = sorted((v, k) for k, v in labels.items()) if not all(k.isdigit() for k in labels) else sorted((int(k), v) for k, v in labels.items())
print(json.dumps([{"name": name} for value, name in names if value and name != "ignore"]))
PY
)
project=$(post /projects "{\"name\": \"session $(date +%s)\", \"labels\": $labels, \"channels\": [\"image\"],
    \"patch_size\": [20, 20, 20], \"query_size\": 5, \"strategy\": \"clasp-pe\", \"profile\": \"smoke\"}" | get '["id"]')

echo "2. images, in pieces of at most 4 MiB, each with its checksum"
for image in $(ls "$data"/imagesTr/*_0000.* | head -n "$limit"); do
    sum=$(sha256sum "$image" | cut -d' ' -f1) size=$(stat -c %s "$image")
    upload=$(post /uploads "{\"sha256\": \"$sum\", \"size\": $size}")
    chunk=$(get '["chunk_bytes"]' <<<"$upload")
    first=$(get '["received"]' <<<"$upload")
    while [ "$first" -lt "$size" ]; do
        piece=$(mktemp)
        tail -c "+$((first + 1))" "$image" | head -c "$chunk" >"$piece" || true
        last=$((first + $(stat -c %s "$piece") - 1))
        api PUT "/uploads/$(get '["id"]' <<<"$upload")" --data-binary "@$piece" \
            --header "Content-Type: application/octet-stream" --header "Content-Range: bytes $first-$last/$size" \
            --header "NNActive-Chunk-SHA256: $(sha256sum "$piece" | cut -d' ' -f1)" >/dev/null
        rm "$piece"
        first=$((last + 1))
    done
    name=$(basename "$image") && name=${name%%_0000.*}
    post "/projects/$project/cases" "{\"channels\": [\"$sum\"], \"name\": \"$name\"}" >/dev/null
done
api GET "/projects/$project/cases" | get '.__len__()' | sed 's/$/ cases/'

echo "3. random patches for the start"
post "/projects/$project/start-patches" '{"count": 8}' >/dev/null

answer() { # answers every open patch from the data set's labels
    while patch=$(post "/projects/$project/next" '{}') && [ -n "$patch" ]; do
        case=$(api GET "/cases/$(get '["case"]' <<<"$patch")" | get '["name"]')
        label=$(ls "$data/labelsTr/$case".*)
        "$python" - "$label" "$patch" <<'PY' >answer.json
import base64, json, sys, zlib
import SimpleITK as sitk
box = json.loads(sys.argv[2])["box"]
z, y, x = (slice(s, s + n) for s, n in zip(box["start"], box["size"]))
crop = sitk.GetArrayFromImage(sitk.ReadImage(sys.argv[1]))[z, y, x].astype("u1")
data = base64.b64encode(zlib.compress(crop.tobytes())).decode()
label = {"encoding": "zlib", "dtype": "uint8", "shape": crop.shape, "data": data}
print(json.dumps({"kind": "labelled", "label": label, "seconds": 20.0, "edits": 3}))
PY
        api PUT "/patches/$(get '["id"]' <<<"$patch")/annotation" --data @answer.json \
            --header "Content-Type: application/json" --header "If-Match: \"$(get '["revision"]' <<<"$patch")\"" \
            --header "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" >/dev/null
    done
    rm -f answer.json
}
echo "4. answers: lease a patch, send its labels"
answer

echo "5. a cycle: train, evaluate, query"
job=$(post "/projects/$project/cycles" '{}' | get '["id"]')
seen=0
while true; do
    state=$(api GET "/jobs/$job")
    case $(get '["state"]' <<<"$state") in succeeded) break ;; failed | cancelled) get '["error"]' <<<"$state" && exit 1 ;; esac
    seen=$(api GET "/events?after=$seen&wait=5&project=$project" | get '["last"]')
done

echo "6. the second batch"
api GET "/projects/$project/queries" | "$python" -c '
import json, sys
batch = json.load(sys.stdin)
print("model", batch["model"])
for patch in batch["patches"]:
    print(patch["rank"], patch["box"]["start"], patch["sentence"])'
api GET "/projects/$project/statistics" | get '["cycles"][-1]["dice_per_class"]' | sed 's/^/cross-validated Dice: /'
