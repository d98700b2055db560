import { describeGuests, guestsWith } from "./stacked-guests.ts";

describeGuests(guestsWith("dracut"), "52:54:00:de:ad:03");
