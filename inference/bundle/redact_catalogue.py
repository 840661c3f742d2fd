"""What is public about secrets: how the keys of well-known services begin, and what people call a password."""

from __future__ import annotations

import re

VERSION = 2  # counted up whenever what `redact` finds changes

_W, _B = r"[\w-]", r"[A-Za-z0-9]"
# Each as the service documents it; the look-behinds spare "risk-adjusted". Sorted by first letter.
_KEYS = (
    # JSON web tokens
    r"(?<![\w-])eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?",
    # after a word that must not go on from another
    rf"(?<![A-Za-z0-9])(?:sk-|hf_|re_|r8_|key-|fo1_|[spr]k_(?:live|test)_|[a-z]{{2,8}}_(?:live|test|prod)_){_W}{{8,}}+",
    rf"sk-(?:ant|proj|or|svcacct)-{_W}{{8,}}+",
    rf"(?:gh[pousr]_|github_pat_|gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|ffct|imt)-|xox[abeoprs]-|xapp-|xoxe\.){_W}{{10,}}+",
    rf"(?:npm_|pypi-|rubygems_|dckr_(?:pat|oat)_|nfp_|figd_|lin_api_|rdme_|glsa_|glc_|sntry[su]_|sbp_|ntn_|gsk_|pul-)"
    rf"[\w=.-]{{16,}}+",
    rf"(?:do[opr]_v1_|shp(?:at|ca|pa|ss)_|sq0(?:atp|csp|idp)-|whsec_|pscale_(?:pw|tkn|oauth)_|dp\.(?:pt|st|ct|sa)\.|dt0c01\.)"
    rf"[\w=.-]{{10,}}+",
    rf"(?:xkeysib-|PMAK-|CFPAT-|NRAK-|NRJS-|NRII-|HRKU-|CCIPAT_|CLOJARS_|FLWSECK(?:_TEST)?-|GOCSPX-|AGE-SECRET-KEY-1"
    rf"|nvapi-|tvly-|pplx-|xai-|ATATT3|ATBB|AKCp|bkua_|sgp_|pnu_|tfp_|secret_|shippo_(?:live|test)_|EZ[AT]K|fm2_){_W}"
    rf"{{16,}}+(?:[=/+.]{_W}*+)*+",
    rf"LTAI{_B}{{12,}}+|AKID{_B}{{12,}}+|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{{12,}}+(?:(?:eyJ|hf_|[spr]k_(?:live|test)_)[\w./-]*+)?",
    rf"AIza{_W}{{16,}}+|ya29\.{_W}{{16,}}+|SG\.{_W}{{8,}}+\.{_W}{{8,}}+|hv[sbr]\.{_W}{{16,}}+|mlsn\.{_B}{{16,}}+",
    rf"EAA[A-Z]{_B}{{20,}}+|EAAA{_W}{{20,}}+|oy2[a-z0-9]{{40,}}+|y0_{_W}{{20,}}+|AQVN{_W}{{30,}}+|dapi[0-9a-f]{{32}}",
    rf"(?<![A-Za-z0-9])(?:AC|SK|AP)[0-9a-f]{{32}}(?![0-9a-z])|[0-9a-f]{{32}}-us\d{{1,2}}(?!\d)",
    rf"(?<!\d)\d{{8,10}}:AA{_W}{{30,}}+|pat{_B}{{14}}\.[0-9a-f]{{32,}}+",
    rf"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[\w/]{{16,}}+|(?<=/api/webhooks/)\d{{8,}}+/{_W}{{20,}}+",
    # a word that only a machine writes: small and capital letters, and digits among them
    rf"(?<![\w/.@%+=-])(?=[\w+/=-]{{0,60}}[A-Z])(?=[\w+/=-]{{0,60}}[a-z])(?=[\w+/=-]{{0,60}}\d[\w+/=-]{{0,60}}\d)"
    rf"(?=[\w+/=]{{24}})[\w+/=-]{{24,}}+(?![.@])",
)
KEY = re.compile("|".join(_KEYS))

PASSWORDS = (
    "pass(?:word|wort|wd|phrase|code|ord)(?:s|en)?|kennwort|pwd|contraseñas?|contrasenas?|mot de passe|senha"
    "|palavra-passe|wachtwoord|l[öo]senord|adgangskode|salasana|has[łl]o|heslo|jelsz[óo]|parolă|parola|[şs]ifre"
    "|пароль|密码|密碼|口令|パスワード|비밀번호|암호|كلمة المرور|كلمة السر|סיסמה|סיסמא|रहस्य|पासवर्ड|รหัสผ่าน|mật khẩu|mat khau"
    "|kata sandi|κωδικός|lozinka|geslo|slaptažodis|parole|parool"
)
_SHORT_PASSWORDS = "pass|pw|psw|mdp|clave"
MARKER = re.compile(
    rf"(?P<password>(?:{PASSWORDS})|(?<![^\W_])(?:{_SHORT_PASSWORDS})(?=\W))"
    r"(?:(?![^\W_])|(?=[是为は은는]))"
    r"|(?P<bearer>(?<![^\W_])(?:bearer|basic)(?=\s))"
    r"|(?P<pin>(?<![^\W_])(?:pins?|pin-?code|geheimzahl|puk|tan|otp|cvv2?|cvc2?)(?![^\W_]))"
    r"|(?P<key>(?:key|token|secret|sig|signature|credential|schlüssel)s?(?![^\W_]))"
)
# Endings of domains that are known where something stands between an address's parts: any country's, and these.
KNOWN_DOMAIN = "com|org|net|edu|gov|mil|int|info|biz|name|app|dev|cloud|online|shop|store|email|example|test|[a-z]{2}"
