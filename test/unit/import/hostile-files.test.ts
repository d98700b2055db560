import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DoppelError } from "../../../src/errors.ts";
import { detectFormat, formatNamed } from "../../../src/import/disk-format.ts";
import { refuseExternalFiles } from "../../../src/import/external-files.ts";
import { parseOvf } from "../../../src/import/ovf-document.ts";

const MARKS: Record<string, string> = {
  qcow2: "QFI\u00fb\0\0\0\u0003",
  qcow: "QFI\u00fb\0\0\0\u0001",
  qed: "QED\0",
  vmdk: "KDMV",
  vhd: "conectix",
};

function source(content: Buffer) {
  return {
    sizeBytes: content.length,
    read: async (target: Buffer, offset: number) => {
      if (offset + target.length > content.length) throw new RangeError("past the end");
      content.copy(target, 0, offset);
    },
  };
}

async function verdict(format: string, content: Buffer): Promise<string> {
  try {
    await refuseExternalFiles("it", "/tmp/it", formatNamed(format), source(content));
    return "taken";
  } catch (error) {
    return error instanceof DoppelError ? error.code : `not ours: ${error}`;
  }
}

describe("a hostile file", () => {
  it.each(Object.entries(MARKS))(
    "of format %s is taken or refused, whatever follows its mark",
    async (format, mark) => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 2048 }), async (bytes) => {
          const found = await verdict(format, Buffer.concat([Buffer.from(mark, "latin1"), bytes]));
          expect(["taken", "disk-image-external", "disk-image-invalid"]).toContain(found);
        }),
        { numRuns: 300 },
      );
    },
  );

  it.each([
    ['RW 8 FLAT "/etc/passwd" 0', "disk-image-external"],
    ['  RW 8 VMFS "../x.vmdk"', "disk-image-external"],
    ['RDONLY 8 SPARSE "not-there.vmdk"', "disk-image-external"],
    ["RW 8 FLAT", "disk-image-external"],
    ['RW +8 FLAT "/etc/passwd"', "disk-image-external"],
    ['RW 0x8 FLAT "/etc/passwd"', "disk-image-external"],
    [`${"#".repeat(900_000)}\nRW 8 FLAT "/etc/passwd"`, "disk-image-external"],
    ["RW 8 ZERO", "taken"],
    ["parentCID=0000abcd", "disk-image-external"],
    ['parentFileNameHint="x"', "disk-image-external"],
    ["parentCID=FFFFFFFF", "taken"],
  ])("whose VMDK descriptor says %.40s is judged", async (line, expected) => {
    expect(await verdict("vmdk", Buffer.from(`# Disk DescriptorFile\n${line}\n`))).toBe(expected);
    // Lines may end as Windows ends them, and what is behind a zero is another program's.
    expect(await verdict("vmdk", Buffer.from(`# Disk DescriptorFile\r\nCID=1\r\n${line}\r\n\0\0`))).toBe(
      expected,
    );
  });

  it("is never told by its name alone, and asked about where its name contradicts it", () => {
    const head = Buffer.from(MARKS.qcow2 ?? "", "latin1");
    expect(detectFormat("web1.img", head, Buffer.alloc(512)).name).toBe("qcow2");
    expect(detectFormat("web1.qcow2", Buffer.alloc(512), Buffer.alloc(512)).name).toBe("raw");
    expect(() => detectFormat("web1.raw", head, Buffer.alloc(512))).toThrow(/--?format|begins like/);
    const footer = Buffer.alloc(512);
    footer.write("conectix");
    expect(detectFormat("web1.vhd", Buffer.alloc(512), footer).driver).toBe("vpc");
    expect(detectFormat("web1.img", Buffer.alloc(512), footer).name).toBe("raw");
  });

  it("that should be an OVF descriptor is understood or refused", () => {
    const pieces = fc.constantFrom(
      "<Envelope>",
      "</Envelope>",
      "<VirtualSystem ovf:id='a'>",
      "<VirtualSystem>",
      "</VirtualSystem>",
      "<Item><ResourceType>17</ResourceType><HostResource>ovf:/disk/d</HostResource></Item>",
      "<Item><ResourceType>4</ResourceType><VirtualQuantity>1e99</VirtualQuantity></Item>",
      "<Disk diskId='d' fileRef='f' capacity='-1'/>",
      "<File id='f' href='x'/>",
      "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
      "<![CDATA[",
      "&lol;",
      "&#0;",
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string({ maxLength: 5 })), { maxLength: 12 }), (parts) => {
        try {
          parseOvf(parts.join(""), "it");
        } catch (error) {
          expect(error).toBeInstanceOf(DoppelError);
          expect((error as DoppelError).code).toBe("appliance-invalid");
        }
      }),
      { numRuns: 500 },
    );
  });
});
