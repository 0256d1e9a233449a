#!/usr/bin/env bash
# From nothing to an evaluated checkpoint: draws the clips, trains, writes models/pocket, measures it. Run it again and it
# goes on. PYTHON, VAE_MINUTES, DIT_MINUTES, WORKERS and OUTPUT may be set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python}
vae_minutes=${VAE_MINUTES:-14}
dit_minutes=${DIT_MINUTES:-35}
output=${OUTPUT:-models/pocket}
"$python" -m training vae --minutes "$vae_minutes" --of "$vae_minutes"
"$python" -m training dit --minutes "$dit_minutes" --of "$dit_minutes"
"$python" -m training look
"$python" -m training write --output "$output"
"$python" -m training evaluate --checkpoint "$output" --output "$output-evaluation" --workers "${WORKERS:-4}"
cp "$output-evaluation/card.md" "$output/README.md"
