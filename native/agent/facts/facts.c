#include "facts.h"

#include <time.h>

json_t *facts_collect(void)
{
	char now[32];
	time_t seconds = time(NULL);
	struct tm utc;

	gmtime_r(&seconds, &utc);
	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &utc);
	return json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", 1, "collectedAt", now, "hardware",
			 facts_hardware(), "firmware", facts_firmware(), "nics", facts_nics(), "block", facts_block(), "os",
			 facts_os(), "modules", facts_modules());
}
