/** A hardware address with colons between its six bytes. */
const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;
/** What the kernel takes for the name of an interface: no slash, no blank, at most 15 bytes. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;

export function isMac(text: string): boolean {
  return MAC.test(text);
}

export function isCardName(text: string): boolean {
  return NAME.test(text);
}
