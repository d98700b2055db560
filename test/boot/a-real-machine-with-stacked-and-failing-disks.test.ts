import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Lab } from "../../fixtures/lab.ts";
import { bytesArrived, Doppel, must, possible } from "../system/doppel.ts";

const MIB = 1024 * 1024;

/**
 * md RAID 1 over two partitions, LVM on it, LUKS in that, and a mounted file system at the top. The kernel reads the new tables
 * twice: an array that is made meanwhile loses a half to udev, which hears late that its partition had gone.
 */
const STACK = `
set -e
printf 'label: gpt\\nsize=60M\\nsize=20M\\n' | sfdisk -q /dev/sdb
printf 'label: gpt\\nsize=60M\\n' | sfdisk -q /dev/sdc
udevadm settle
mdadm --create /dev/md0 --run --quiet --level=1 --raid-devices=2 --metadata=1.2 /dev/sdb1 /dev/sdc1
mdadm --wait /dev/md0 || true
grep -qx 0 /sys/block/md0/md/degraded
pvcreate -qq /dev/md0
vgcreate -qq vg0 /dev/md0
lvcreate -qq -n secret -L 40M vg0
printf opensesame >/run/key
cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/vg0/secret /run/key
cryptsetup open --key-file /run/key /dev/vg0/secret clear
mkfs.ext4 -q /dev/mapper/clear
mkdir -p /mnt/clear
mount /dev/mapper/clear /mnt/clear
udevadm settle
`;

/** A disk that cannot read 8 sectors from sector 40000 on. */
const BAD_DISK = `
set -e
dd if=/dev/urandom of=/dev/sdd bs=1M count=64 status=none conv=fsync
printf '0 40000 linear /dev/sdd 0\\n40000 8 error\\n40008 91064 linear /dev/sdd 40008\\n' | dmsetup create bad
`;

/** The sum of every cluster of that disk; ends with an error when one cannot be read. */
const CLUSTER_SUMS = `python3 -c '
import hashlib
with open("/dev/sdd", "rb") as disk:
    while cluster := disk.read(65536):
        print(hashlib.sha256(cluster).hexdigest())
'`;

function clusterSums(path: string): string[] {
  const disk = readFileSync(path);
  return Array.from({ length: disk.length / 65_536 }, (_, index) =>
    sumOf(disk.subarray(index * 65_536, (index + 1) * 65_536)),
  );
}

function sumOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

interface SeenByLsblk {
  kname: string;
  type: string;
  size: number;
  fstype: string | null;
  uuid: string | null;
  mountpoint: string | null;
  serial: string | null;
  "log-sec": number;
  children?: SeenByLsblk[];
}

/** Kinds of devices as lsblk calls them. */
const LSBLK_TYPE: Record<string, string> = { partition: "part", md: "raid1" };

describe.skipIf(!possible)("a running machine", () => {
  let lab: Lab;
  const doppel = new Doppel();

  beforeAll(async () => {
    lab = await Lab.start({ cpus: 1, extraDiskBytes: [96 * MIB, 96 * MIB, 64 * MIB, 64 * MIB] });
    await lab.run(STACK);
    await lab.run(BAD_DISK);
  });

  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    doppel[Symbol.dispose]();
  });

  it("is described as lsblk, ip and findmnt describe it: disk, partition, md, LVM, LUKS, mount", async () => {
    const { facts } = (await doppel.json("inspect", ...lab.login)) as { facts: Facts };
    const columns = "NAME,KNAME,TYPE,SIZE,FSTYPE,UUID,MOUNTPOINT,SERIAL,LOG-SEC";
    const seen = JSON.parse(await lab.run(`lsblk -J -b -o ${columns}`)).blockdevices as SeenByLsblk[];
    const parents = new Map<string, Set<string>>();
    const devices = new Map<string, SeenByLsblk>();
    const walk = (device: SeenByLsblk, parent?: string) => {
      devices.set(device.kname, device);
      const known = parents.get(device.kname) ?? new Set();
      parents.set(device.kname, parent === undefined ? known : known.add(parent));
      for (const child of device.children ?? []) walk(child, device.kname);
    };
    for (const device of seen) walk(device);
    for (const [kname, device] of devices) {
      if (device.type === "rom" || kname.startsWith("fd")) continue;
      const ours = facts.block.find(({ name }) => name === kname);
      expect(ours, kname).toMatchObject({ sizeBytes: device.size, logicalSectorBytes: device["log-sec"] });
      expect(LSBLK_TYPE[ours?.kind ?? ""] ?? ours?.kind, kname).toBe(device.type);
      expect(new Set(ours?.parents), kname).toEqual(parents.get(kname));
      expect(ours?.serial ?? null, kname).toBe(device.serial);
      if (device.mountpoint?.startsWith("/")) {
        expect(ours, kname).toMatchObject({ fsType: device.fstype, fsUuid: device.uuid });
        expect(ours?.mounts.map(({ path }) => path)).toEqual([device.mountpoint]);
      }
    }
    expect([...devices.keys()].filter((name) => name.startsWith("dm-"))).toHaveLength(3);
    const cards = JSON.parse(await lab.run("ip -j addr")) as {
      ifname: string;
      address: string;
      addr_info: { local: string; prefixlen: number }[];
    }[];
    for (const { ifname, address, addr_info } of cards.filter(({ ifname }) => ifname !== "lo")) {
      const ours = facts.nics.find(({ name }) => name === ifname);
      expect(ours).toMatchObject({ mac: address, kind: "physical", driver: "e1000" });
      const addresses = (list: { address: string; prefix: number }[]) =>
        list.map((a) => `${a.address}/${a.prefix}`);
      const theirs = addr_info.map(({ local, prefixlen }) => ({ address: local, prefix: prefixlen }));
      expect(addresses(ours?.addresses ?? []).sort()).toEqual(addresses(theirs).sort());
    }
    const used = Number((await lab.run("df --output=used -B1 /srv")).split("\n")[1]);
    const srv = facts.block.flatMap(({ mounts }) => mounts).find(({ path }) => path === "/srv");
    expect(Math.abs((srv?.usedBytes ?? 0) - used)).toBeLessThan(16 * MIB);
    const loaded = (await lab.run("cut -d' ' -f1 /proc/modules")).trim().split("\n");
    expect(facts.modules).toEqual(expect.arrayContaining(loaded.filter((name) => name.startsWith("dm_"))));
    expect(facts.os).toMatchObject({ id: "debian", versionId: "12", hostname: "demo", bootLoader: "grub2" });
    expect(facts.os.kernels).toEqual([(await lab.run("uname -r")).trim()]);
  });

  it("is drawn as a tree for people", async () => {
    const { stdout } = await doppel.run("inspect", ...lab.login);
    expect(stdout).toMatch(
      /sdb1 .*\n\s+md0 .*raid1.*\n\s+dm-0 .*vg0-secret.*\n\s+dm-1 .*clear.*ext4.*on \/mnt\/clear/,
    );
    expect(stdout).toMatch(/ens\d+ \(physical\) +52:54:00:de:ad:01, e1000/);
    expect(stdout).toMatch(/\/dev\/sda4 +xfs .*\/srv +allocation-map/);
  });

  it("of which only half of an array is captured is told so before", async () => {
    const plan = await doppel.json(
      "capture",
      ...lab.login,
      "--disk",
      "/dev/sdb",
      "--name",
      "half",
      "--dry-run",
    );
    const notes = (plan.verdict as { notes: { code: string; message: string }[] }).notes;
    const split = notes.filter(({ code }) => code === "stack-split");
    expect(split[0]?.message).toMatch(/\/dev\/sdc/);
    expect(plan).toMatchObject({ disks: [{ mounted: ["/mnt/clear"] }] });
  });

  it("with an array that is being made consistent is refused: its halves would not fit together", async () => {
    const sync =
      "cd /sys/block/md0/md; echo 10 >sync_speed_min; echo 10 >sync_speed_max; echo repair >sync_action";
    await lab.run(sync);
    try {
      const words = [
        "capture",
        ...lab.login,
        "--disk",
        "/dev/sdb",
        "--disk",
        "/dev/sdc",
        "--name",
        "syncing",
      ];
      const refused = await doppel.run(...words);
      expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("by its repair") });
      const plan = await doppel.json(...words, "--mode", "fuzzy", "--dry-run");
      expect((plan.verdict as { notes: unknown[] }).notes).toContainEqual(
        expect.objectContaining({ code: "array-syncing" }),
      );
    } finally {
      await lab.run("echo idle >/sys/block/md0/md/sync_action");
    }
  });

  it("is captured by a user who is root only by sudo", async () => {
    const config = ["--ssh-config", lab.machine.sshConfig];
    const target = `keeper@${lab.machine.target}`;
    const result = await doppel.json("capture", target, ...config, "--disk", "/dev/sde", "--name", "by-sudo");
    expect(result).toMatchObject({ grade: "offline" });
    expect(
      await lab.run(
        "pgrep -x doppel-agent || echo none; ls -d /tmp/doppel-agent-* /run/user/*/doppel-agent-* 2>/dev/null || echo none",
      ),
    ).toBe("none\nnone");
  });

  it("with a sector that cannot be read: the capture stops and names it, or keeps zeros in its place", async () => {
    const bad = ["capture", ...lab.login, "--disk", "/dev/mapper/bad", "--name", "bad"];
    const stopped = await doppel.run(...bad);
    expect(stopped).toMatchObject({ code: 1, stderr: expect.stringMatching(/sector 40000\b.*read-error/) });
    expect((await doppel.run("images", "show", "bad")).stderr).toContain("image-unknown");
    const zeroed = await doppel.json(...bad, "--on-read-error", "zero");
    const cluster = Math.floor((40_000 * 512) / 65_536);
    expect(zeroed).toMatchObject({ readErrors: 1, warnings: [expect.stringContaining("sector 40000")] });
    expect(zeroed.disks).toMatchObject([{ readErrors: [{ cluster }] }]);
    expect((await doppel.run("images", "show", "bad")).stdout).toContain(`cluster ${cluster}`);
    const raw = join(lab.folder, "bad.raw");
    await doppel.json("export", "bad", "-o", raw);
    const ours = clusterSums(raw);
    const theirs = (await lab.run(CLUSTER_SUMS)).trim().split("\n");
    expect(ours).toHaveLength(theirs.length);
    expect(ours.flatMap((sum, index) => (sum === theirs[index] ? [] : [index]))).toEqual([cluster]);
    expect(ours[cluster]).toBe(sumOf(Buffer.alloc(65_536)));
  });

  it("whose disk vanishes: the capture stops, says which, and leaves nothing", async () => {
    await lab.run("dd if=/dev/urandom of=/dev/sde bs=1M count=64 status=none conv=fsync");
    using other = new Doppel();
    const args = ["--disk", "/dev/sde", "--name", "gone", "--limit-rate", "4M"];
    const running = other.start("capture", ...lab.login, ...args);
    await bytesArrived(other, MIB);
    await lab.run("echo 1 > /sys/block/sde/device/delete");
    const result = await running.ended;
    expect(result).toMatchObject({ code: 1, stderr: expect.stringMatching(/\/dev\/sde.*disk-vanished/) });
    expect(await other.json("images", "ls")).toEqual([]);
    expect(readdirSync(join(other.home, "store/uploads"))).toEqual([]);
    expect(await lab.run("pgrep -x doppel-agent || echo none")).toBe("none");
  });
});

interface Facts {
  block: {
    name: string;
    kind: string;
    parents: string[];
    serial?: string | null;
    mounts: { path: string; usedBytes?: number }[];
  }[];
  nics: { name: string; addresses: { address: string; prefix: number }[] }[];
  os: Record<string, unknown>;
  firmware: { type: string; bootOrder?: { label: string; active: boolean }[] };
  modules: string[];
}

describe.skipIf(!possible)("a machine with UEFI", () => {
  it("is described with its boot order, and its variables are kept in the image", async () => {
    const lab = await Lab.start({ uefi: true, extraDiskBytes: [8 * MIB] });
    using doppel = new Doppel();
    try {
      const { facts } = (await doppel.json("inspect", ...lab.login)) as { facts: Facts };
      expect(facts.firmware.type).toBe("uefi");
      const order = (await lab.run("od -An -tx1 -j4 /sys/firmware/efi/efivars/BootOrder-*")).trim();
      expect(facts.firmware.bootOrder?.length).toBe(order.split(/\s+/).length / 2);
      await doppel.json("capture", ...lab.login, "--disk", "/dev/sdb", "--name", "uefi");
      const shown = await doppel.json("images", "show", "uefi");
      const digest = String(shown.firmwareVariables);
      const blob = JSON.parse(
        await must("cat", join(doppel.home, "store/blobs/sha256", digest.replace("sha256:", ""))),
      );
      const names = (await lab.run("ls /sys/firmware/efi/efivars")).trim().split("\n");
      const kept = (blob.variables as { name: string; guid: string }[]).map(
        ({ name, guid }) => `${name}-${guid}`,
      );
      expect(kept.sort()).toEqual(names.sort());
      const { stdout } = await doppel.run("inspect", "uefi:latest");
      expect(stdout).toMatch(/firmware +UEFI; boots /);
    } finally {
      await lab[Symbol.asyncDispose]();
    }
  });
});
