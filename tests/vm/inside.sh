# Runs inside the machine that run.sh boots.
echo "edge-qc in the machine: $(uname -r), $(cat /sys/class/video4linux/video*/name | tr '\n' ' ')"
export PYTHONPATH=/mnt/edge:/opt/site PYTHONDONTWRITEBYTECODE=1 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb
cd /tmp
eval "set -- $(cat /mnt/pytest-options)"
python3 -m pytest -q -p no:cacheprovider -c /mnt/pyproject.toml --rootdir /mnt -o timeout=600 --durations=5 \
    /mnt/tests/contract/test_v4l2_device_contract.py /mnt/tests/contract/test_v4l2_camera.py \
    /mnt/tests/contract/test_camera_contract.py /mnt/tests/vm "$@"
echo "edge-qc in the machine: exit $?"
