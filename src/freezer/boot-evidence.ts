/** Type of what a boot test attaches to its image. */
export const BOOT_TEST_TYPE = "application/vnd.doppel.boot-test.v1";

/** The annotation that says how the test ended: `yes`, or `no, why`. */
export const BOOT_TEST_RESULT = "org.doppel.boot-test.result";
