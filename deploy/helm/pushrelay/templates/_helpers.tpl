{{- define "pushrelay.name" -}}
{{- if contains "pushrelay" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-pushrelay" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "pushrelay.selector" -}}
app.kubernetes.io/name: pushrelay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "pushrelay.labels" -}}
{{ include "pushrelay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "pushrelay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Where the files of chat servers come from: "configmap", "secret", or "volume" if one of extraVolumeMounts is there. */}}
{{- define "pushrelay.serversFrom" -}}
{{- $from := ternary "secret" "configmap" (not (empty .Values.existingServersSecret)) -}}
{{- if and .Values.existingServersSecret .Values.servers }}{{ fail "existingServersSecret is in the place of servers: put these files into the Secret" }}{{ end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if eq (trimSuffix "/" .mountPath) "/servers.d" -}}
{{- if or $.Values.existingServersSecret $.Values.servers }}{{ fail "extraVolumeMounts has /servers.d: then leave servers and existingServersSecret empty" }}{{ end -}}
{{- $from = "volume" -}}
{{- end -}}
{{- end -}}
{{- $from -}}
{{- end -}}
