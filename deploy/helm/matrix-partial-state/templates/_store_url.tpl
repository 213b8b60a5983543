{{/*
Refuses a URL, given by value, that the service would refuse at start; without showing it, since a password may stand in it.
Takes the values of `store.external`.
*/}}
{{- define "matrix-partial-state.storeUrlAgreement" -}}
{{- $login := "([^@/?]*@)?" -}}
{{- $port := "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])" -}}
{{- $host := printf "([^\\s@:/?,\\[\\]]+|\\[[0-9A-Fa-f:.]+\\])(:%s)?" $port -}}
{{- $hosts := printf "%s(,%s)*" $host $host -}}
{{- $one := printf "rediss?://%s%s(/[0-9]{0,9})?" $login $host -}}
{{- $sentinel := printf "rediss?\\+sentinel://%s%s/[^/?@]+(/[0-9]{0,9})?" $login $hosts -}}
{{- $cluster := printf "rediss?\\+cluster://%s%s(/0?)?" $login $hosts -}}
{{- $socket := printf "unix://%s/[^?]+" $login -}}
{{- $parameter := "(db|(sentinel_)?(username|password)|ssl_(ca_certs|certfile|keyfile)|ssl_check_hostname)=[^&]*" -}}
{{- $form := printf "^(%s|%s|%s|%s)(\\?%s(&%s)*)?$" $one $sentinel $cluster $socket $parameter $parameter -}}
{{- with .url.value -}}
{{- if not (regexMatch $form .) -}}
{{- fail "store.external.url.value is none of redis://, unix:///, redis+sentinel:// or redis+cluster:// (rediss for TLS) as deploy/STORE.md has them: user and password percent-encoded, ports from 1 to 65535, known parameters only" -}}
{{- end -}}
{{- if and (not (hasPrefix "rediss" .)) (regexMatch "[?&]ssl_" .) -}}
{{- fail "store.external.url.value has parameters of TLS, which its scheme does not mean: begin it with rediss" -}}
{{- end -}}
{{- if ne (contains "ssl_ca_certs=/etc/matrix-partial-state/store-ca.crt" .) (not (empty $.caCertificates)) -}}
{{- fail "store.external.caCertificates and ?ssl_ca_certs=/etc/matrix-partial-state/store-ca.crt in store.external.url.value belong together" -}}
{{- end -}}
{{- end -}}
{{- with .password.value -}}
{{- if not (regexMatch "^([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+$" .) -}}
{{- fail "store.external.password.value must be percent-encoded, as URLs need it" -}}
{{- end -}}
{{- end -}}
{{- end }}
