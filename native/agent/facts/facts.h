/* What a machine is: docs/machine-facts.md. Everything that cannot be read is left out, nothing fails. */
#ifndef DOPPEL_FACTS_H
#define DOPPEL_FACTS_H

#include <jansson.h>

/* All facts of this machine; NULL without memory. */
json_t *facts_collect(void);

/* Its parts, one file each. */
json_t *facts_hardware(void);
json_t *facts_firmware(void);
json_t *facts_nics(void);
json_t *facts_block(void);
json_t *facts_os(void);
json_t *facts_modules(void);

#endif
