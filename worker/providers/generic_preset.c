/* generic_preset.c - what is known of whole families of providers.
 *
 * zdk: the API that a dozen card shops share (same paths, other hosts). order_uuid gives the first order again and charges once;
 * an unknown uuid has no row in a check. Of the error codes those that everybody agrees on, and those of the vendor's own list, say that
 * nothing was bought; 114 and 500 mean "unknown" there and decide nothing. */
#include "worker/providers/generic_config.h"
#include <string.h>

static const char zdk[] =
    "{\"reference\":\"uuid\","
    "\"auth\":{\"kind\":\"header\",\"name\":\"api-token\",\"value\":\"{token}\"},"
    "\"place\":{\"method\":\"GET\",\"path\":\"/client/api/newOrder/{product}/"
    "params\",\"format\":\"json\",\"at\":\"data\","
    "\"params\":{\"qty\":\"{kupur|1}\",\"order_uuid\":\"{reference}\",\"playerId\":\"{player}\","
    "\"extra\":\"{extra}\"}},"
    "\"check\":{\"method\":\"GET\",\"path\":\"/client/api/"
    "check\",\"format\":\"json\",\"at\":\"data\","
    "\"params\":{\"orders\":\"[{reference}]\",\"uuid\":\"1\"}},"
    "\"words\":{\"accept\":\"done\",\"success\":\"done\",\"ok\":\"done\",\"done\":\"done\","
    "\"complete\":\"done\","
    "\"completed\":\"done\",\"reject\":\"failed\",\"rejected\":\"failed\",\"fail\":\"failed\","
    "\"failed\":\"failed\","
    "\"error\":\"failed\",\"cancel\":\"failed\",\"canceled\":\"failed\",\"cancelled\":\"failed\","
    "\"wait\":\"pending\","
    "\"pending\":\"pending\",\"processing\":\"pending\",\"inprogress\":\"pending\",\"queued\":"
    "\"pending\","
    "\"queue\":\"pending\",\"accepted\":\"pending\"},"
    "\"fields\":{\"status\":\"status\",\"order_id\":\"order_id\",\"cost\":\"price\","
    "\"pin\":[\"pin\",\"code\",\"voucher\",\"serial\",\"replay_api\"],\"note\":[\"replay_api\","
    "\"message\"]},"
    "\"errors\":{\"code\":[\"code\",\"error_code\",\"errorCode\",\"err_code\"],\"message\":["
    "\"message\",\"error\",\"msg\"],"
    "\"codes\":{\"100\":\"no_balance\",\"105\":\"unavailable\",\"106\":\"other\",\"107\":\"bad_"
    "player\",\"108\":\"other\","
    "\"109\":\"bad_product\",\"110\":\"unavailable\",\"111\":\"rate\",\"112\":\"other\",\"113\":"
    "\"other\","
    "\"120\":\"access\",\"121\":\"access\",\"122\":\"access\",\"123\":\"access\",\"130\":"
    "\"maintenance\",\"429\":\"rate\"}},"
    "\"balance\":{\"path\":\"/client/api/"
    "profile\",\"format\":\"json\",\"balance\":[\"balance\",\"data.balance\"]},"
    "\"catalogue\":{\"path\":\"/client/api/"
    "products\",\"at\":[\"data\",\"\"],\"id\":\"id\",\"product\":\"id\",\"name\":\"name\","
    "\"game\":\"category_name\",\"price\":\"price\",\"available\":\"available\"}}";

const char *generic_preset(const char *name)
{
    return strcmp(name, "zdk") == 0 ? zdk : NULL;
}
