import { describeGuests, guestsWith } from "./stacked-guests.ts";

// Of the whole matrix only: in every run, the machine of a-converted-machine-boots-on-other-hardware has this generator.
describeGuests(guestsWith("initramfs-tools"), "52:54:00:de:ad:04");
