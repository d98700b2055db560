/** What a Windows is, as its SOFTWARE hive says. */
export interface WindowsVersion {
  /** `CurrentMajorVersionNumber` and `CurrentMinorVersionNumber`, or the two parts of `CurrentVersion`. */
  major: number;
  minor: number;
  /** `CurrentBuildNumber`. */
  build: number;
  /** `InstallationType` is `Server` or `Server Core`. */
  server: boolean;
  arch: "x86" | "amd64" | "arm64";
}

interface KnownVersion {
  name: string;
  server: boolean;
  major: number;
  minor: number;
  /** The first build that is this version: Windows 10, 11 and their servers differ in nothing else. */
  fromBuild: number;
  /** Folders of the virtio-win drivers that fit, the best first. */
  folders: readonly string[];
}

/** The newest first, of those that differ by their build. */
const KNOWN: readonly KnownVersion[] = [
  {
    name: "Windows Server 2025",
    server: true,
    major: 10,
    minor: 0,
    fromBuild: 26_040,
    folders: ["2k25", "2k22", "2k19"],
  },
  {
    name: "Windows Server 2022",
    server: true,
    major: 10,
    minor: 0,
    fromBuild: 20_348,
    folders: ["2k22", "2k19"],
  },
  {
    name: "Windows Server 2019",
    server: true,
    major: 10,
    minor: 0,
    fromBuild: 17_763,
    folders: ["2k19", "2k16"],
  },
  { name: "Windows Server 2016", server: true, major: 10, minor: 0, fromBuild: 0, folders: ["2k16"] },
  { name: "Windows 11", server: false, major: 10, minor: 0, fromBuild: 22_000, folders: ["w11", "w10"] },
  { name: "Windows 10", server: false, major: 10, minor: 0, fromBuild: 0, folders: ["w10"] },
  {
    name: "Windows Server 2012 R2",
    server: true,
    major: 6,
    minor: 3,
    fromBuild: 0,
    folders: ["2k12R2", "w8.1"],
  },
  { name: "Windows 8.1", server: false, major: 6, minor: 3, fromBuild: 0, folders: ["w8.1", "2k12R2"] },
  { name: "Windows Server 2012", server: true, major: 6, minor: 2, fromBuild: 0, folders: ["2k12", "w8"] },
  { name: "Windows 8", server: false, major: 6, minor: 2, fromBuild: 0, folders: ["w8", "2k12"] },
  {
    name: "Windows Server 2008 R2",
    server: true,
    major: 6,
    minor: 1,
    fromBuild: 0,
    folders: ["2k8R2", "w7"],
  },
  { name: "Windows 7", server: false, major: 6, minor: 1, fromBuild: 0, folders: ["w7", "2k8R2"] },
];

/** The version's name and driver folders; undefined of what is older than Windows 7 and Server 2008 R2. */
export function knownVersion(
  version: WindowsVersion,
): { name: string; folders: readonly string[] } | undefined {
  return KNOWN.find(
    ({ server, major, minor, fromBuild }) =>
      server === version.server &&
      major === version.major &&
      minor === version.minor &&
      version.build >= fromBuild,
  );
}
