import type { Guest } from "../../fixtures/lab.ts";
import { describeGuests, guestsWith, isWholeMatrix } from "./stacked-guests.ts";

/** What the machine of a-converted-machine-boots-on-other-hardware (initramfs-tools, BIOS, plain) is not. */
const everyRun: Guest[] = [{ generator: "dracut", firmware: "uefi", stack: "lvm" }];

describeGuests(isWholeMatrix ? guestsWith("dracut") : everyRun, "52:54:00:de:ad:03");
